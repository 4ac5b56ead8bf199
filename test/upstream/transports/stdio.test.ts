import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import type { Failure } from "../../../src/core/failure.ts";
import { rejectionOf } from "../../support/failure.ts";
import { fake, fakeArgs, jsonOf, listed, textOf, upstreams } from "../../support/upstream.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { use } from "../../support/turns.ts";
import { until } from "../../support/until.ts";
import { stdioOptions } from "../../../src/upstream/options.ts";

const mib = 1024 ** 2;
const linux = process.platform === "linux";

/** Pids whose environment holds the mark. */
function marked(mark: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "latin1").includes(mark);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Whether a process runs; one that ended counts as gone even where its new parent never collects it. */
function runs(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return false;
  }
}

test("R17: a child's environment is built, never inherited", async () => {
  process.env["SECRET_OF_THE_GATEWAY"] = "canary";
  await using set = upstreams([fake("a", [], { env: { OWN: "yes", MCPGW_RUN: "forged" } })], { run: "run-1" });
  const env = jsonOf(await set.ask("a", "env"));
  delete process.env["SECRET_OF_THE_GATEWAY"];
  expect(Object.keys(env).toSorted()).toEqual(
    expect.arrayContaining(["HOME", "MCPGW_INSTANCE", "MCPGW_RUN", "OWN", "PATH"]),
  );
  const allowed = ["HOME", "LANG", "MCPGW_INSTANCE", "MCPGW_RUN", "OWN", "PATH", "TMPDIR", "TZ"];
  expect(Object.keys(env).filter((name) => !allowed.includes(name))).toEqual([]);
  expect(env).toMatchObject({ OWN: "yes", MCPGW_RUN: "run-1" });
});

test("a working directory that does not exist is named, not the program", async () => {
  await using set = upstreams([fake("a", [], { cwd: "/nowhere/at-all" })]);
  await rejectionOf(set.ask("a", "echo"));
  expect(set.status()[0]?.reason).toContain("its cwd /nowhere/at-all does not exist");
});

test("S36: arguments reach the program as they are, without a shell", async () => {
  const args = [
    "-e",
    "process.stderr.write(JSON.stringify(process.argv.slice(1)) + '\\n')",
    "$(id)",
    "; ls",
    "a b",
    "*",
  ];
  await using set = upstreams([stdioOptions.parse({ id: "a", command: process.execPath, args })]);
  const line = await until(
    () =>
      set
        .log("a")
        .last(10)
        .find((text) => text.includes("id")),
    "the arguments",
  );
  expect(line).toContain('["$(id)","; ls","a b","*"]');
});

test("a command that does not exist is an unavailable server with a reason", async () => {
  await using set = await listed([stdioOptions.parse({ id: "a", command: "/no/such/program" })]);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("cannot be started") });
  const failure = await rejectionOf(set.ask("a", "echo"));
  expect(failure.code).toBe("upstream-down");
  expect(failure.message).toContain("did not run");
});

test("T13: a flood without a line end ends the child, and memory stays bounded", async () => {
  await using set = upstreams([fake("a", ["--mode", "flood"])]);
  const before = process.memoryUsage.rss();
  await set.settled();
  const longest = 16 * mib + 64 * 1024;
  const reason = expect.stringContaining(`a line of more than ${longest} bytes`);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason });
  expect(process.memoryUsage.rss() - before).toBeLessThan(200 * mib);
});

test("S10 T14: wrong, repeated and unsolicited answers reach nobody and are counted", async () => {
  await using set = upstreams([fake("a", [], { timeout: "300ms", isolation: "shared" })]);
  // The time of a call may be up before its instance has started.
  await until(() => set.ask("a", "echo").catch(() => null), "an instance");
  const before = set.status()[0]?.dropped ?? NaN;
  expect((await rejectionOf(set.ask("a", "wrong-id"))).code).toBe("timeout");
  expect(textOf(await set.ask("a", "twice"))).toBe("first");
  expect((await rejectionOf(set.ask("a", "both"))).code).toBe("upstream-protocol");
  expect((await rejectionOf(set.ask("a", "null-id"))).code).toBe("timeout");
  expect(textOf(await set.ask("a", "slow", { ms: 1 }))).toBe('{"ms":1}');
  // Two foreign answers, a request, a notification, a second answer, both, and one without an id.
  expect(set.status()[0]?.dropped).toBe(before + 7);
});

test("T12: a late answer is dropped, never taken for another call's", async () => {
  await using set = await listed([fake("a", [], { timeout: "150ms", isolation: "shared" })]);
  await until(() => set.ask("a", "echo").catch(() => null), "an answer in time");
  expect((await rejectionOf(set.ask("a", "slow", { ms: 250, late: true }))).code).toBe("timeout");
  const slow = await rejectionOf(set.ask("a", "hang"));
  expect(slow.code).toBe("timeout");
  await until(() => set.status()[0]?.dropped === 1, "the late answer to be dropped");
});

test("a result that a program leaves behind is delivered, however much it says before and however long that takes", async () => {
  await using set = upstreams([fake("a")]);
  const emit = (): void => use(10);
  const said = { total: 30, message: "x".repeat(1_000), exit: true };
  expect(textOf(await set.ask("a", "progress", said, { token: "1", emit }))).toBe("done");
});

test("T15: a flood of stderr blocks nothing; the log is bounded, printable and without secrets", async () => {
  await using set = await listed([fake("a", ["--mode", "stderr-flood"], { env: { TOKEN: "canary-of-the-env" } })]);
  expect(set.status()[0]?.state).toBe("ready");
  const log = set.log("a").last(10_000).join("\n");
  expect(log.length).toBeLessThan(mib + 100_000);
  expect(log).toContain("[redacted]");
  expect(log).not.toContain("canary-of-the-env");
  expect(log).not.toContain("\x1b");
  expect(log).toContain("\\u{1b}[31mred");
});

test("the last words of a program are in its log, without a line end and in the midst of a flood", async () => {
  const flood = `yes 'debug: one of the very many lines that nobody will ever read' | head -n 60000 >&2`;
  const program = `read -r line; ${flood}; printf 'fatal: GITHUB_TOKEN is missing' >&2; exit 1`;
  await using set = await listed([
    stdioOptions.parse({ id: "a", command: "sh", args: ["-c", program], protocol: "legacy" }),
  ]);
  const log = set.log("a").last(10_000);
  expect(log.at(-1)).toEndWith(" fatal: GITHUB_TOKEN is missing");
  expect(log.filter((line) => line.includes("faster than the log takes them"))).not.toEqual([]);
});

/** Bytes that are still needed: what a process has besides depends on when it collects garbage. */
function heldNow(): number {
  Bun.gc(true);
  return heapStats().heapSize;
}

test("T16: a child that does not read its input fills its queue, not our memory", async () => {
  await using stopped = await listed([fake("b", [], { isolation: "shared" })]);
  const controller = new AbortController();
  const pid = Number(jsonOf(await stopped.ask("b", "count")).pid);
  process.kill(pid, "SIGSTOP");
  const before = heldNow();
  const payload = { data: "x".repeat(mib) };
  const failing: Promise<Failure>[] = [];
  for (let i = 0; i < 300; i++) {
    failing.push(rejectionOf(stopped.ask("b", "echo", payload, { controller })));
    // As calls come from sockets: one after the other, what is refused at once is let go.
    await new Promise(setImmediate);
  }
  expect(heldNow() - before).toBeLessThan(100 * mib);
  controller.abort();
  const failures = await Promise.all(failing);
  const codes = new Set(failures.map(({ code }) => code));
  expect(codes).toEqual(new Set(["cancelled", "overloaded"]));
  // Of 1 MiB each, not quite eight fit into the queue.
  expect(failures.filter(({ code }) => code === "overloaded").length).toBeGreaterThan(290);
}, 20_000);

test("FIELD T37: lines that are no JSON are tolerated and counted", async () => {
  await using set = await listed([fake("a", ["--mode", "noise"])]);
  expect(set.status()[0]).toMatchObject({ state: "ready", dropped: 1 });
});

test.skipIf(!linux)("T17, FIELD T31: nothing of a stubborn process tree survives its end (needs Linux)", async () => {
  const run = `run-${crypto.randomUUID()}`;
  const set = await listed([fake("a", ["--mode", "stubborn"])], { run });
  await until(() => marked(run).length >= 4, "the tree to grow");
  await set.close(0);
  expect(marked(run)).toEqual([]);
});

test.skipIf(!linux)(
  "FIELD T31: a child that exits takes the processes it left behind with it (needs Linux)",
  async () => {
    const run = `run-${crypto.randomUUID()}`;
    const script = `(env -i sleep 63 &) ; setsid sleep 64 & sleep 0.3; exit 0`;
    const options = stdioOptions.parse({ id: "a", command: "sh", args: ["-c", script], protocol: "legacy" });
    await using set = upstreams([options], { run });
    await until(() => marked(run).length > 0, "the children to start");
    const pids = marked(run);
    await until(() => set.events.some(({ type }) => type === "server.stopped"), "the tree to be gone");
    expect(pids.filter(runs)).toEqual([]);
  },
);

test.skipIf(!linux)("the reaper ends all children of a daemon that was killed (needs Linux)", async () => {
  const run = `run-${crypto.randomUUID()}`;
  const support = new URL("../../support/upstream.ts", import.meta.url).pathname;
  const code = `
    import { fake, listed } from ${JSON.stringify(support)};
    const set = await listed([fake("a", ["--mode", "stubborn"]), fake("b")], { run: "${run}" });
    console.log("up");
    await Bun.sleep(60_000);`;
  const daemon = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
  await daemon.stdout.getReader().read();
  await until(() => marked(run).length >= 5, "the children to run");
  daemon.kill("SIGKILL");
  await until(() => marked(run).length === 0, "the reaper to have done its work");
});

test.skipIf(!linux)("no child is started where its reaper cannot be (needs Linux)", async () => {
  using at = new TempDir();
  const program = at.path("gateway");
  const trace = at.path("started");
  const run = `run-${crypto.randomUUID()}`;
  const args = ["-c", `echo >> "${trace}"; exec "$@"`, "sh", process.execPath, ...fakeArgs()];
  const options = stdioOptions.parse({ id: "a", command: "sh", args, protocol: "legacy" });
  await using set = await listed([options], { run, program });
  expect(set.status()[0]).toMatchObject({ state: "backoff", pids: [], reason: expect.stringContaining("ENOENT") });
  expect(await rejectionOf(set.ask("a", "echo"))).toMatchObject({ code: "upstream-down", detail: { ran: "no" } });
  expect([existsSync(trace), marked(run)]).toEqual([false, []]);
  symlinkSync(process.execPath, program);
  expect(textOf(await until(() => set.ask("a", "echo").catch(() => null), "the reaper"))).toContain("echo");
});

test.skipIf(!linux)("a subreaper collects the orphans that end while their server runs on (needs Linux)", async () => {
  const orphans = new URL("../../../src/upstream/process/orphans.ts", import.meta.url).pathname;
  const libc = new URL("../../../src/core/libc.ts", import.meta.url).pathname;
  const code = `
    import fs from "node:fs";
    import { enroll, findOrphans } from ${JSON.stringify(orphans)};
    import { setSubreaper } from ${JSON.stringify(libc)};
    setSubreaper();
    const server = Bun.spawn(["sh", "-c", "(setsid sh -c 'echo $$; exit 0' &) ; sleep 60"], { detached: true, stdout: "pipe" });
    await enroll(server.pid, null);
    const { value } = await server.stdout.getReader().read();
    const orphan = Number(new TextDecoder().decode(value));
    for (let i = 0; i < 400 && fs.existsSync("/proc/" + orphan); i++) {
      await Bun.sleep(5);
      await findOrphans();
    }
    console.log(fs.existsSync("/proc/" + orphan), server.exitCode);
    server.kill();
    process.kill(-server.pid, "SIGKILL");`;
  const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
  expect(await new Response(child.stdout).text()).toBe("false null\n");
});

test.skipIf(!linux)(
  "what is being ended with its server counts as no orphan of unknown origin (needs Linux)",
  async () => {
    const orphans = new URL("../../../src/upstream/process/orphans.ts", import.meta.url).pathname;
    const libc = new URL("../../../src/core/libc.ts", import.meta.url).pathname;
    const code = `
    import { enroll, findOrphans } from ${JSON.stringify(orphans)};
    import { setSubreaper } from ${JSON.stringify(libc)};
    setSubreaper();
    const spawn = (env) => Bun.spawn(["sleep", "60"], { detached: true, env, stdio: ["ignore", "ignore", "ignore"] });
    const server = spawn({});
    await enroll(server.pid, "MARK=1");
    const left = Array.from({ length: 64 }, () => spawn({ MARK: "1" }));
    console.log((await findOrphans()).length);
    // Each ends at another point of a search.
    for (const one of left) {
      const found = findOrphans();
      // The search may collect it before Bun does.
      one.exited.catch(() => {});
      one.kill("SIGKILL");
      for (const other of await found) console.log(other.pid);
    }
    server.kill("SIGKILL");`;
    const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
    expect(await new Response(child.stdout).text()).toBe("0\n");
  },
);
