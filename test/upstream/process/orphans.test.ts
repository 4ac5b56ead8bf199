import { expect, test } from "bun:test";
import { ended, moduleAt } from "../../support/processes.ts";
import { TempDir } from "../../support/temp-dir.ts";

/**
 * Returns what a program prints that inherits orphans, which this process must not. `leave` starts a process whose
 * parent ends immediately, in a session of its own unless `inSession`, and resolves to its pid once it is inherited.
 */
async function inherits(code: string): Promise<unknown> {
  const program = `
    import { setSubreaper } from ${moduleAt("core/libc.ts")};
    import { dismiss, enroll, findOrphans } from ${moduleAt("upstream/process/orphans.ts")};
    import { readProcess, startOf } from ${moduleAt("upstream/process/process-table.ts")};
    import { startReaper } from ${moduleAt("upstream/process/reaper.ts")};
    import { endOrphans } from ${moduleAt("upstream/process/tree.ts")};
    import { until } from ${JSON.stringify(new URL("../../support/until.ts", import.meta.url).pathname)};
    setSubreaper();
    const left = [];
    const leave = async (program, inSession = false) => {
      const script = \`(\${inSession ? "" : "setsid "}env -i \${program} & echo $!)\`;
      const child = Bun.spawn(["sh", "-c", script], { stdout: "pipe" });
      const pid = Number(await child.stdout.text());
      await child.exited;
      await until(async () => {
        const one = await readProcess(String(pid));
        if (one?.parent !== process.pid || (!inSession && one.session !== pid)) return false;
        // While it starts its program, it shows nothing that identifies its owner.
        return one.environmentAt !== "0" && (await Bun.file(\`/proc/\${pid}/comm\`).text()) === "tail\\n";
      }, "its adoption");
      left.push(pid);
      return pid;
    };
    const found = async () => (await findOrphans()).map(({ pid }) => pid);
    const print = (...values) => console.log(JSON.stringify(values));
    try { ${code} } finally { for (const pid of left) try { process.kill(pid, "SIGKILL"); } catch {} }`;
  const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "pipe", timeout: 15_000 });
  const { stdout, stderr } = await ended(child);
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

// `tail` keeps neither of the program's output pipes open.
const bare = "tail -f /dev/null >/dev/null 2>&1";
const lasting = `M=1 ${bare}`;

test.skipIf(process.platform !== "linux")(
  "FIELD T31: only orphans that started after a child are ended with it (needs Linux)",
  async () => {
    const ends = await inherits(`
      const pid = await leave(${JSON.stringify(bare)});
      const { started } = await readProcess(String(pid));
      const before = [await endOrphans(started + 1), await found()];
      print(before, pid, await endOrphans(started), await found());`);
    const [before, pid, after, rest] = ends as [unknown, number, unknown, unknown];
    expect([before, after, rest]).toEqual([[[], [pid]], [], []]);
  },
);

test.skipIf(process.platform !== "linux")(
  "FIELD T31: a child that ends immediately does not end orphans that existed before it (needs Linux)",
  async () => {
    const left = await inherits(`
      const pid = await leave(${JSON.stringify(bare)});
      const { started } = await readProcess(String(pid));
      // A process that starts within the same clock tick counts as later.
      await until(async () => {
        const one = Bun.spawn(["true"]);
        const isLater = startOf(one.pid) > started;
        await one.exited;
        return isLater;
      }, "the next tick");
      for (let i = 0; i < 50; i++) {
        const child = Bun.spawn(["true"], { detached: true, stdio: ["ignore", "ignore", "ignore"] });
        enroll(child.pid, null);
        await child.exited;
        await endOrphans(dismiss(child.pid));
      }
      print(pid, ...(await found()));`);
    const [pid, ...rest] = left as number[];
    expect(rest).toEqual([pid ?? 0]);
  },
);

test.skipIf(process.platform !== "linux")(
  "FIELD T31: an orphan belongs to the child whose session or marker it has, while that child exists (needs Linux)",
  async () => {
    const seen = await inherits(`
      const pid = await leave(${JSON.stringify(lasting)});
      const own = await leave(${JSON.stringify(lasting)}, true);
      const alone = await found();
      enroll(pid, null);
      const bySession = await found();
      dismiss(pid);
      enroll(process.pid, "M=1");
      const byMark = await found();
      dismiss(process.pid);
      print(pid, alone, bySession, byMark, await found(), own);`);
    const [pid, ...lists] = seen as [number, ...number[][]];
    expect(lists.slice(0, 4)).toEqual([[pid], [], [], [pid]]);
  },
);

test.skipIf(process.platform !== "linux")("an orphan that has ended is collected (needs Linux)", async () => {
  const collected = await inherits(`
    const pid = await leave(${JSON.stringify(lasting)});
    process.kill(pid, "SIGKILL");
    await until(async () => (await readProcess(String(pid)))?.zombie, "its end");
    print(await found(), await readProcess(String(pid)));`);
  expect(collected).toEqual([[], null]);
});

test.skipIf(process.platform !== "linux")(
  "a process that is being ended with its server does not count as an orphan of unknown origin (needs Linux)",
  async () => {
    const taken = await inherits(`
      const spawn = (env) => Bun.spawn(["sleep", "60"], { detached: true, env, stdio: ["ignore", "ignore", "ignore"] });
      const server = spawn({});
      enroll(server.pid, "MARK=1");
      const own = Array.from({ length: 64 }, () => spawn({ MARK: "1" }));
      const taken = await found();
      // Each ends at a different point of a search.
      for (const one of own) {
        const searching = found();
        // The search may collect it before Bun does.
        one.exited.catch(() => {});
        one.kill("SIGKILL");
        taken.push(...(await searching));
      }
      server.kill("SIGKILL");
      print(...taken);`);
    expect(taken).toEqual([]);
  },
);

test.skipIf(process.platform !== "linux")(
  "FIELD T31: an orphan is reported once to the reaper and the log, and its end to the reaper, since pids are reused (needs Linux)",
  async () => {
    using at = new TempDir();
    const told = JSON.stringify(at.path("told"));
    const seen = await inherits(`
      const told = () => Bun.file(${told}).text();
      await Bun.write(${told}, "");
      const found = [];
      const reaper = startReaper(["sh", "-c", 'cat >"$0"', ${told}], { PATH: process.env.PATH }, (one) => found.push(one));
      const pid = await leave(${JSON.stringify(lasting)});
      await until(async () => (await told()) !== "", "it to be told of");
      process.kill(pid, "SIGKILL");
      await until(async () => (await told()).includes("-"), "its end to be told of");
      await reaper.close();
      print(pid, found, await told());`);
    const [pid] = seen as [number];
    expect(seen).toEqual([pid, [pid], `+${pid}\n-${pid}\n`]);
  },
  30_000,
);
