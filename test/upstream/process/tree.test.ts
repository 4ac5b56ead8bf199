import { expect, test } from "bun:test";
import { findFamily, readProcess } from "../../../src/upstream/process/process-table.ts";
import { endFamily, killFamily } from "../../../src/upstream/process/tree.ts";
import { alive, asNobody, canBecomeNobody, moduleAt } from "../../support/processes.ts";
import { until } from "../../support/until.ts";

/**
 * A child whose own child leads another session and has left a process behind in it, without a parent in the family and
 * without the family's environment.
 */
async function plant() {
  const inner = "(sleep 71 & echo $!) ; echo $$; exec sleep 72";
  const child = Bun.spawn(["sh", "-c", `setsid env -i PATH="$PATH" sh -c '${inner}' & wait`], {
    detached: true,
    stdout: "pipe",
  });
  const reader = child.stdout.getReader();
  let said = "";
  while (said.split("\n").length < 3) {
    const { value } = await reader.read();
    said += new TextDecoder().decode(value);
  }
  const [orphan = 0, leader = 0] = said.split("\n").map(Number);
  const dispose = (): void => {
    for (const pid of [child.pid, leader, orphan]) if (alive(pid)) process.kill(pid, "SIGKILL");
  };
  return { child, leader, orphan, family: { leaders: new Set([child.pid]), marker: null }, [Symbol.dispose]: dispose };
}

test.skipIf(process.platform !== "linux")(
  "FIELD T31: a process belongs to a family if another member of it started its session (needs Linux)",
  async () => {
    using planted = await plant();
    const pids = (await findFamily(planted.family)).map(({ pid }) => pid);
    expect(pids).toEqual(expect.arrayContaining([planted.child.pid, planted.leader, planted.orphan]));
    expect(pids).not.toContain(process.pid);
  },
);

test.skipIf(process.platform !== "linux")(
  "FIELD T31: a process whose only links to the family ended when asked to is ended too (needs Linux)",
  async () => {
    using planted = await plant();
    const { child, leader, orphan, family } = planted;
    const ask = (): void => [leader, child.pid].forEach((pid) => process.kill(pid, "SIGKILL"));
    expect(await endFamily(family, { ask, ended: child.exited }, { close: 5_000, term: 5_000 })).toEqual([]);
    expect(alive(orphan)).toBe(false);
  },
);

/** A program that reports when it runs, with a way to ask it to end. */
async function run(script: string) {
  const child = Bun.spawn(["sh", "-c", script], { detached: true, stdin: "pipe", stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  const ask = (): void => void child.stdin.end();
  const family = { leaders: new Set([child.pid]), marker: null };
  return { child, family, farewell: { ask, ended: child.exited }, said: new TextDecoder().decode(value).trim() };
}

test("a program ends by itself when its input ends, and by SIGTERM if it ignores that", async () => {
  const heeding = await run("echo runs; cat; exit 3");
  expect(await endFamily(heeding.family, heeding.farewell, { close: 10_000, term: 10_000 })).toEqual([]);
  expect(heeding.child.exitCode).toBe(3);
  const deaf = await run("trap 'sleep 0.3; exit 4' TERM; echo runs; while :; do sleep 0.02; done");
  expect(await endFamily(deaf.family, deaf.farewell, { close: 1, term: 10_000 })).toEqual([]);
  await deaf.child.exited;
  expect(deaf.child.exitCode).toBe(4);
});

test.skipIf(process.platform !== "linux")(
  "a zombie that its parent does not collect does not count as a process that did not die (needs Linux)",
  async () => {
    const { child, said, farewell } = await run("exec 3<&0; setsid cat <&3 & echo $!; exec sleep 73");
    // A shell would collect it.
    await until(async () => (await Bun.file(`/proc/${child.pid}/comm`).text()) === "sleep\n", "the end of the shell");
    farewell.ask();
    await until(async () => (await readProcess(said))?.zombie, "its end");
    expect(await killFamily({ leaders: new Set([Number(said)]), marker: null })).toEqual([]);
    expect(await readProcess(said)).not.toBeNull();
    child.kill("SIGKILL");
    await child.exited;
  },
);

test.skipIf(process.platform !== "linux")(
  "T26: a program that ignores the end of its input is ended even without a free descriptor to find it with (needs Linux)",
  async () => {
    const code = `
      import { openSync } from "node:fs";
      import { endFamily } from ${moduleAt("upstream/process/tree.ts")};
      const child = Bun.spawn(["sleep", "79"], { detached: true, stdin: "pipe", stdout: "ignore" });
      const ask = () => {
        try {
          for (;;) openSync("/dev/null", "r");
        } catch {}
      };
      const family = { leaders: new Set([child.pid]), marker: null };
      const left = await endFamily(family, { ask, ended: child.exited }, { close: 100, term: 5_000 });
      console.log(JSON.stringify({ left, signal: await Promise.race([child.exited, Bun.sleep(2_000)]) && child.signalCode }));
      child.kill("SIGKILL");`;
    const few = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"];
    const child = Bun.spawn([...few, process.execPath, "-e", code], { stdout: "pipe", stderr: "inherit" });
    expect(await child.stdout.json()).toEqual({ left: [], signal: "SIGTERM" });
  },
  30_000,
);

const hiding = ["unshare", "-m", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh", ...asNobody];
const canHide = canBecomeNobody && Bun.which("unshare") !== null && Bun.spawnSync([...hiding, "true"]).success;

test.skipIf(!canHide)(
  "T17: a program that is hidden from its own user is ended (needs root, and a /proc that hides processes)",
  async () => {
    const code = `
      import { guardProcess } from ${moduleAt("daemon/process.ts")};
      import { endFamily } from ${moduleAt("upstream/process/tree.ts")};
      import { readProcess } from ${moduleAt("upstream/process/process-table.ts")};
      if (process.argv[1] === "hidden") {
        guardProcess();
        console.log("hidden");
        await Bun.sleep(15_000);
        process.exit();
      }
      const argv = [process.execPath, "-e", process.env.CODE, "hidden"];
      const child = Bun.spawn(argv, { detached: true, stdin: "pipe", stdout: "pipe" });
      await child.stdout.getReader().read();
      const seen = await readProcess(String(child.pid));
      const family = { leaders: new Set([child.pid]), marker: null };
      const left = await endFamily(family, { ask() {}, ended: child.exited }, { close: 1, term: 5_000 });
      console.log(JSON.stringify({ seen, left, signal: await Promise.race([child.exited, Bun.sleep(2_000)]) && child.signalCode }));
      child.kill("SIGKILL");`;
    const argv = [...hiding, process.execPath, "-e", code];
    const child = Bun.spawn(argv, { env: { ...process.env, CODE: code }, stdout: "pipe", stderr: "inherit" });
    expect(await child.stdout.json()).toEqual({ seen: null, left: [], signal: "SIGTERM" });
  },
  20_000,
);

test("a session from outside of this container has the number 0 here, which must not end the gateway's own group", async () => {
  const code = `
    import { killFamily } from ${moduleAt("upstream/process/tree.ts")};
    console.log(JSON.stringify(await killFamily({ leaders: new Set([0]), marker: null })));`;
  const child = Bun.spawn([process.execPath, "-e", code], { detached: true, stdout: "pipe", stderr: "inherit" });
  expect(await child.stdout.text()).toBe("[]\n");
});

test.skipIf(process.platform !== "linux" || Bun.which("bash") === null)(
  "a group of another session that reuses the number of an ended session is left alone (needs Linux and bash)",
  async () => {
    // A shell with job control puts each job into its own group in the session of the shell.
    const shell = Bun.spawn(["bash", "-c", "set -m; sleep 60 & echo $!; wait"], { detached: true, stdout: "pipe" });
    const { value } = await shell.stdout.getReader().read();
    const job = Number(new TextDecoder().decode(value));
    expect(await killFamily({ leaders: new Set([job]), marker: null })).toEqual([]);
    expect(await readProcess(String(job))).toMatchObject({ session: shell.pid, zombie: false });
    expect(await killFamily({ leaders: new Set([shell.pid]), marker: null })).toEqual([]);
  },
);
