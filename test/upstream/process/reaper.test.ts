import { expect, test } from "bun:test";
import { startReaper } from "../../../src/upstream/process/reaper.ts";
import { alive, caught, pidsWith } from "../../support/processes.ts";
import { until } from "../../support/until.ts";

const program = new URL("../../fixtures/upstream-main.ts", import.meta.url).pathname;

const ways = [
  ["that was suspended still does its work", [process.execPath, program, "__reaper", "any"]],
  ["that does not end is killed", ["sleep", "1000"]],
] as const;

test.concurrent.skipIf(process.platform !== "linux").each(ways)(
  "a reaper %s, so the shutdown of the gateway does not wait for it (needs Linux)",
  async (_what, argv) => {
    const mark = crypto.randomUUID();
    const reaper = startReaper(argv, { PATH: process.env["PATH"] ?? "", MARK: mark }, () => {});
    const pid = await until(() => pidsWith(mark)[0], "the reaper");
    await using left = Bun.spawn(["sleep", "1000"], { detached: true });
    if (argv[0] === process.execPath) {
      // A service manager sends these signals to all processes of a service.
      const [hangup, interrupt, terminate] = [1n << 0n, 1n << 1n, 1n << 14n];
      const all = hangup | interrupt | terminate;
      await until(() => (caught(pid) & all) === all, "it heeds none of them", 5_000);
      for (const name of ["SIGHUP", "SIGINT", "SIGTERM"] as const) process.kill(pid, name);
    }
    process.kill(pid, "SIGSTOP");
    reaper.add(left.pid);
    await reaper.close();
    await until(() => !alive(pid), "its end");
    if (argv[0] !== process.execPath) return;
    await left.exited;
    expect(left.signalCode).toBe("SIGKILL");
  },
  30_000,
);

test.concurrent.skipIf(process.platform !== "linux")(
  "a reaper leaves a removed session alone, since another process may have its pid by now (needs Linux)",
  async () => {
    const argv = [process.execPath, program, "__reaper", "any"];
    const reaper = startReaper(argv, { PATH: process.env["PATH"] ?? "" }, () => {});
    await using left = Bun.spawn(["sleep", "1000"], { detached: true });
    await using other = Bun.spawn(["sleep", "1000"], { detached: true });
    for (const { pid } of [left, other]) reaper.add(pid);
    reaper.remove(other.pid);
    await reaper.close();
    await left.exited;
    expect([left.signalCode, alive(other.pid)]).toEqual(["SIGKILL", true]);
  },
  30_000,
);

test.concurrent.skipIf(process.platform !== "linux")(
  "a reaper that was killed is replaced by one that knows the same sessions (needs Linux)",
  async () => {
    const mark = crypto.randomUUID();
    const argv = [process.execPath, program, "__reaper", "any"];
    const reaper = startReaper(argv, { PATH: process.env["PATH"] ?? "", MARK: mark }, () => {});
    await using left = Bun.spawn(["sleep", "1000"], { detached: true });
    reaper.add(left.pid);
    const first = await until(() => pidsWith(mark)[0], "the reaper");
    process.kill(first, "SIGKILL");
    await until(() => pidsWith(mark).find((pid) => pid !== first), "another reaper");
    await reaper.close();
    await left.exited;
    expect(left.signalCode).toBe("SIGKILL");
  },
  30_000,
);

test.concurrent.skipIf(process.platform !== "linux")(
  "a reaper ends the session of a line that arrives in pieces (needs Linux)",
  async () => {
    await using left = Bun.spawn(["sleep", "1000"], { detached: true });
    const module = new URL("../../../src/upstream/process/reaper.ts", import.meta.url).href;
    const code = `
      import { runReaper } from ${JSON.stringify(module)};
      const line = ${JSON.stringify(`+${left.pid}\n`)};
      await runReaper("any", (async function* () { for (const piece of line) yield Buffer.from(piece); })());`;
    const reaper = Bun.spawn([process.execPath, "-e", code], { stdout: "inherit", stderr: "inherit" });
    expect([await reaper.exited, left.signalCode]).toEqual([0, "SIGKILL"]);
  },
  30_000,
);
