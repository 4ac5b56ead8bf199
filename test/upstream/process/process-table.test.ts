import { expect, test } from "bun:test";
import { readFileSync, symlinkSync } from "node:fs";
import { findFamily, readProcess } from "../../../src/upstream/process/process-table.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

test.skipIf(process.platform !== "linux")(
  "a process is found by its parent and session, whatever it calls itself (needs Linux)",
  async () => {
    using at = new TempDir();
    // As the system shows it, the name stands before these.
    const program = at.path("x) Z 1 1 (y");
    symlinkSync(Bun.which("cat") ?? "", program);
    const child = Bun.spawn([program], { stdin: "pipe", stdout: "pipe", detached: true });
    await child.stdin.write("runs");
    await child.stdin.flush();
    await child.stdout.getReader().read();
    const { pid } = child;
    expect(await readProcess(String(pid))).toMatchObject({ pid, parent: process.pid, session: pid, zombie: false });
    const family = await findFamily({ leaders: new Set([pid]), marker: null });
    expect(family.map((one) => one.pid)).toEqual([pid]);
    await child.stdin.end();
    await child.exited;
    expect(await readProcess(String(pid))).toBeNull();
  },
);

test.skipIf(process.platform !== "linux")(
  "a mark finds a process in any session, but is not the beginning of another mark (needs Linux)",
  async () => {
    const child = Bun.spawn(["cat"], { env: { MCPGW_TEST: "one" }, stdin: "pipe", stdout: "pipe", detached: true });
    await child.stdin.write("runs");
    await child.stdin.flush();
    await child.stdout.getReader().read();
    const marked = async (marker: string) => (await findFamily({ leaders: new Set(), marker })).map(({ pid }) => pid);
    expect(await marked("MCPGW_TEST=one")).toEqual([child.pid]);
    for (const other of ["MCPGW_TEST=on", "TEST=one", "MCPGW_TEST=two"]) expect(await marked(other)).toEqual([]);
    await child.stdin.end();
    await child.exited;
  },
);

test.skipIf(process.platform !== "linux")("this process is of no family that it may end (needs Linux)", async () => {
  const session = (await readProcess(String(process.pid)))?.session ?? 0;
  const family = await findFamily({ leaders: new Set([session]), marker: null });
  expect(family.map(({ pid }) => pid)).not.toContain(process.pid);
});

test.skipIf(process.platform !== "linux")("of two processes the later one started later (needs Linux)", async () => {
  const start = async () => {
    const child = Bun.spawn(["sleep", "74"]);
    const { started = 0 } = (await readProcess(String(child.pid))) ?? {};
    return { child, started };
  };
  const first = await start();
  const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  expect(Math.abs(first.started / 100 - uptime)).toBeLessThan(5);
  await until(() => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) > uptime + 0.02, "the next tick");
  const second = await start();
  expect(second.started).toBeGreaterThan(first.started);
  for (const { child } of [first, second]) child.kill("SIGKILL");
});
