import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { silent } from "../../../src/core/log.ts";
import { endPreviousRun } from "../../../src/upstream/process/previous-run.ts";
import { readProcess } from "../../../src/upstream/process/process-table.ts";
import { runVariable } from "../../../src/upstream/process/reaper.ts";
import { alive, commandOf, pidsWith } from "../../support/processes.ts";
import { linesOf } from "../../support/seen.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

const startOf = async (pid: number): Promise<number> => (await readProcess(String(pid)))?.started ?? 0;

/** Whether a start ends what the gateway with this pid and start time has left. */
async function ends(pid: number, started: number): Promise<boolean> {
  using dir = new TempDir();
  const run = crypto.randomUUID();
  await using left = Bun.spawn(["sleep", "1000"], {
    detached: true,
    env: { PATH: "/bin:/usr/bin", [runVariable]: run },
  });
  await until(() => pidsWith(run).includes(left.pid), "its program has begun");
  writeFileSync(dir.path("main.run"), `${run}\n${pid} ${started}\n`);
  await endPreviousRun(dir.dir, "main", "next", silent);
  expect(readFileSync(dir.path("main.run"), "utf8")).toBe(`next\n${process.pid} ${await startOf(process.pid)}\n`);
  return !alive(left.pid);
}

const onLinux = test.skipIf(process.platform !== "linux");

onLinux("a start leaves the servers of the previous gateway alone while it runs (needs Linux)", async () => {
  await using other = Bun.spawn(["sleep", "1000"]);
  expect(await ends(other.pid, await startOf(other.pid))).toBe(false);
});

onLinux("a start ends what the previous gateway left, even if another process has its pid (needs Linux)", async () => {
  await using other = Bun.spawn(["sleep", "1000"]);
  expect(await ends(other.pid, (await startOf(other.pid)) - 1)).toBe(true);
});

onLinux("a start ends what the previous gateway left, even if it was this process (needs Linux)", async () => {
  expect(await ends(process.pid, await startOf(process.pid))).toBe(true);
});

onLinux("a start ends what the previous gateway left, even if that gateway is a zombie (needs Linux)", async () => {
  const script = "exec 3<&0; cat <&3 >/dev/null & echo $!; exec sleep 1000";
  await using parent = Bun.spawn(["sh", "-c", script], { stdin: "pipe", stdout: "pipe" });
  const pid = Number((await linesOf(parent.stdout).next()).value);
  // A shell would collect its child.
  await until(() => commandOf(parent.pid).startsWith("sleep"), "its parent is no shell any more");
  await parent.stdin.end();
  await until(async () => (await readProcess(String(pid)))?.zombie, "it has ended");
  expect(await ends(pid, await startOf(pid))).toBe(true);
});
