import { expect, test } from "bun:test";
import { readFileSync, symlinkSync } from "node:fs";
import { findFamily, readProcess, sharedScan } from "../../../src/upstream/process/process-table.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

test.skipIf(process.platform !== "linux")(
  "a process is found by its parent and session, whatever its name is (needs Linux)",
  async () => {
    using at = new TempDir();
    // In the system's format, the name comes before these fields.
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
  "a marker finds a process in any session, but does not match a longer marker (needs Linux)",
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

test.skipIf(process.platform !== "linux")("this process is never part of a family to end (needs Linux)", async () => {
  const session = (await readProcess(String(process.pid)))?.session ?? 0;
  const family = await findFamily({ leaders: new Set([session]), marker: null });
  expect(family.map(({ pid }) => pid)).not.toContain(process.pid);
});

test.skipIf(process.platform !== "linux")(
  "a process that starts later has a later start time (needs Linux)",
  async () => {
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
  },
);

test("a scan is shared by callers that ask before it begins, and not by later ones, which it may have missed", async () => {
  const looks: PromiseWithResolvers<number>[] = [];
  const look = sharedScan(() => {
    const one = Promise.withResolvers<number>();
    looks.push(one);
    return one.promise;
  });
  const first = [look(), look()];
  await until(() => looks.length === 1, "the first look");
  const second = [look(), look()];
  looks[0]?.reject(new Error("blind"));
  expect((await Promise.allSettled(first)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await until(() => looks.length === 2, "the second look");
  looks[1]?.resolve(2);
  expect(await Promise.all(second)).toEqual([2, 2]);
  expect(looks).toHaveLength(2);
});

test("the result of a scan is not kept afterwards", async () => {
  const held: WeakRef<object>[] = [];
  const looks = Array.from({ length: 20 }, () =>
    sharedScan(async () => {
      const found = {};
      held.push(new WeakRef(found));
      return found;
    }),
  );
  for (const look of looks) await look();
  await until(() => {
    Bun.gc(true);
    // The stack may still hold the last ones.
    return held.filter((one) => one.deref() !== undefined).length < 5;
  }, "what was found to go");
  expect([looks.length, held.length]).toEqual([20, 20]);
});

test.skipIf(process.platform !== "linux")(
  "the families of many servers that stop at the same time are searched together (needs Linux)",
  async () => {
    const cost = async (count: number): Promise<number> => {
      const before = process.cpuUsage();
      const families = Array.from({ length: count }, (_, n) => ({
        leaders: new Set<number>(),
        marker: `MCPGW_NONE=${n}`,
      }));
      await Promise.all(families.map(findFamily));
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    const one = Math.max(await cost(1), await cost(1));
    expect(await cost(100)).toBeLessThan(20 * one);
  },
);
