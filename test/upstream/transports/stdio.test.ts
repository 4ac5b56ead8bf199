import { heapStats } from "bun:jsc";
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, symlinkSync } from "node:fs";
import type { Failure } from "../../../src/core/failure.ts";
import { rejectionOf } from "../../support/failure.ts";
import { fake, fakeArgs, jsonOf, listed, textOf, upstreams } from "../../support/upstream.ts";
import { alive, pidsWith } from "../../support/processes.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { use } from "../../support/turns.ts";
import { until } from "../../support/until.ts";
import { stdioOptions } from "../../../src/upstream/options.ts";
import { openStdio } from "../../../src/upstream/transports/stdio.ts";
import { linkHost } from "../../support/link-host.ts";

setDefaultTimeout(30_000);

const mib = 1024 ** 2;
const linux = process.platform === "linux";

test("R17: a child's environment is built, never inherited", async () => {
  process.env["SECRET_OF_THE_GATEWAY"] = "canary";
  const own = { OWN: "yes", TZ: "Etc/UTC", MCPGW_RUN: "forged", MCPGW_INSTANCE: "forged" };
  await using set = upstreams([fake("a", [], { env: own })], { run: "run-1" });
  const env = jsonOf(await set.ask("a", "env"));
  delete process.env["SECRET_OF_THE_GATEWAY"];
  const needed = ["HOME", "MCPGW_INSTANCE", "MCPGW_RUN", "OWN", "PATH", "TZ"];
  expect(Object.keys(env)).toEqual(expect.arrayContaining(needed));
  expect(Object.keys(env).filter((name) => ![...needed, "LANG", "TMPDIR"].includes(name))).toEqual([]);
  expect(env).toMatchObject({ OWN: "yes", TZ: "Etc/UTC", MCPGW_RUN: "run-1", HOME: process.env["HOME"] });
  expect(env["MCPGW_INSTANCE"]).not.toBe("forged");
});

test("a missing working directory is named in the error, not the program", async () => {
  await using set = upstreams([fake("a", [], { cwd: "/nowhere/at-all" })]);
  await rejectionOf(set.ask("a", "echo"));
  expect(set.status()[0]?.reason).toContain("its cwd /nowhere/at-all does not exist");
});

test("S36: arguments reach the program unchanged, without a shell", async () => {
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

test("a missing command makes the server unavailable, with a reason", async () => {
  await using set = await listed([stdioOptions.parse({ id: "a", command: "/no/such/program" })]);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("cannot be started") });
  expect(set.warnings.join("\n")).toMatch(/^a server is not available .*cannot be started/m);
  const failure = await rejectionOf(set.ask("a", "echo"));
  expect(failure.code).toBe("upstream-down");
  expect(failure.message).toContain("did not run");
});

test("T13: endless output without a newline ends the child, and memory stays bounded", async () => {
  await using set = upstreams([fake("a", ["--mode", "flood"])]);
  const before = process.memoryUsage.rss();
  await set.settled();
  const longest = 16 * mib + 64 * 1024;
  const reason = expect.stringContaining(`a line of more than ${longest} bytes (limits.result)`);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason });
  expect(process.memoryUsage.rss() - before).toBeLessThan(200 * mib);
});

test("T12: a late answer is dropped and never used for another call", async () => {
  await using set = await listed([fake("a", [], { timeout: "150ms", isolation: "shared" })]);
  await until(() => set.ask("a", "echo").catch(() => null), "an answer in time");
  // On a busy machine, earlier answers were late too.
  const before = set.status()[0]?.dropped ?? 0;
  expect((await rejectionOf(set.ask("a", "slow", { ms: 250, late: true }))).code).toBe("timeout");
  const slow = await rejectionOf(set.ask("a", "hang"));
  expect(slow.code).toBe("timeout");
  await until(() => set.status()[0]?.dropped === before + 1, "the late answer to be dropped");
});

test("a result that a program wrote before it exited is delivered, however much output precedes it", async () => {
  await using set = upstreams([fake("a")]);
  const emit = (): void => use(10);
  const said = { total: 30, message: "x".repeat(1_000), exit: true };
  expect(textOf(await set.ask("a", "progress", said, { token: "1", emit }))).toBe("done");
});

test("T15: a flood of stderr blocks nothing; the log is bounded, printable and free of secrets", async () => {
  await using set = await listed([fake("a", ["--mode", "stderr-flood"], { env: { TOKEN: "canary-of-the-env" } })]);
  expect(set.status()[0]?.state).toBe("ready");
  const log = set.log("a").last(10_000).join("\n");
  expect(log.length).toBeLessThan(mib + 100_000);
  expect(log).toContain("[redacted]");
  expect(log).not.toContain("canary-of-the-env");
  expect(log).not.toContain("\x1b");
  expect(log).toContain("\\u{1b}[31mred");
});

test("the last output of a program is in its log, without a newline and during a flood", async () => {
  const flood = `yes 'debug: one of the very many lines that nobody will ever read' | head -n 60000 >&2`;
  const program = `read -r line; ${flood}; printf 'fatal: GITHUB_TOKEN is missing' >&2; exit 1`;
  await using set = await listed([
    stdioOptions.parse({ id: "a", command: "sh", args: ["-c", program], protocol: "legacy" }),
  ]);
  const log = set.log("a").last(10_000);
  expect(log.at(-1)).toEndWith(" fatal: GITHUB_TOKEN is missing");
  expect(log.filter((line) => line.includes("faster than the log accepts them"))).not.toEqual([]);
});

/** Bytes still in use: the rest of the process's memory depends on when it collects garbage. */
function heldNow(): number {
  Bun.gc(true);
  return heapStats().heapSize;
}

test("T10: a child that closes its output is ended, and its open requests are lost, as with any other connection", async () => {
  const program = "while read -r line; do exec >&-; done";
  const mute = stdioOptions.parse({ id: "a", command: "sh", args: ["-c", program], protocol: "legacy" });
  await using set = await listed([mute]);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("it closed its output") });
});

test("T16: a child that does not read its input fills its queue, not the gateway's memory", async () => {
  await using stopped = await listed([fake("b", [], { isolation: "shared" })]);
  const controller = new AbortController();
  const pid = Number(jsonOf(await stopped.ask("b", "count")).pid);
  process.kill(pid, "SIGSTOP");
  const before = heldNow();
  const payload = { data: "x".repeat(mib) };
  const failing: Promise<Failure>[] = [];
  for (let i = 0; i < 300; i++) {
    failing.push(rejectionOf(stopped.ask("b", "echo", payload, { controller })));
    // As calls come from sockets: one after the other; those refused at once are released.
    await new Promise(setImmediate);
  }
  expect(heldNow() - before).toBeLessThan(100 * mib);
  controller.abort();
  const failures = await Promise.all(failing);
  const codes = new Set(failures.map(({ code }) => code));
  expect(codes).toEqual(new Set(["cancelled", "overloaded"]));
  // Of 1 MiB each, not quite eight fit into the queue.
  expect(failures.filter(({ code }) => code === "overloaded").length).toBeGreaterThan(290);
});

test("a child whose output can no longer be read is ended, and the reason says why", async () => {
  const write = (): void => {
    throw new Error("the log failed");
  };
  const link = openStdio(
    {
      argv: [process.execPath, "-e", "console.error(1); setInterval(() => {}, 1000)"],
      env: {},
      cwd: null,
      stderr: () => ({ write, end() {} }),
      spawned() {},
      gone() {},
      patience: { close: 0, term: 1_000 },
    },
    linkHost,
  );
  expect(await link.ended).toEqual({
    expected: false,
    reason: "the gateway failed to process its output (the log failed)",
  });
  await link.close();
});

test("FIELD T37: lines that are not JSON are tolerated and counted", async () => {
  await using set = await listed([fake("a", ["--mode", "noise"])]);
  expect(set.status()[0]).toMatchObject({ state: "ready", dropped: 1 });
});

test.skipIf(!linux)(
  "T17, FIELD T31: no process of a stubborn process tree survives its end (needs Linux)",
  async () => {
    const run = `run-${crypto.randomUUID()}`;
    const set = await listed([fake("a", ["--mode", "stubborn"])], { run });
    await until(() => pidsWith(run).length >= 4, "the tree to grow");
    await set.close(0);
    expect(pidsWith(run)).toEqual([]);
  },
);

test.skipIf(!linux)(
  "FIELD T31: when a child exits, the processes that it left behind are ended too (needs Linux)",
  async () => {
    const run = `run-${crypto.randomUUID()}`;
    const script = `(env -i sleep 63 &) ; setsid sleep 64 & sleep 0.3; exit 0`;
    const options = stdioOptions.parse({ id: "a", command: "sh", args: ["-c", script], protocol: "legacy" });
    await using set = upstreams([options], { run });
    await until(() => pidsWith(run).length > 0, "the children to start");
    const pids = pidsWith(run);
    await until(() => set.events.some(({ type }) => type === "server.stopped"), "the tree to be gone");
    expect(pids.filter(alive)).toEqual([]);
  },
);

test.skipIf(!linux)("the reaper ends all children of a killed daemon (needs Linux)", async () => {
  const run = `run-${crypto.randomUUID()}`;
  const support = new URL("../../support/upstream.ts", import.meta.url).pathname;
  const code = `
    import { fake, listed } from ${JSON.stringify(support)};
    const set = await listed([fake("a", ["--mode", "stubborn"]), fake("b")], { run: "${run}" });
    console.log("up");
    await Bun.sleep(60_000);`;
  const daemon = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
  await daemon.stdout.getReader().read();
  await until(() => pidsWith(run).length >= 5, "the children to run");
  daemon.kill("SIGKILL");
  await until(() => pidsWith(run).length === 0, "the reaper to have done its work");
});

test.skipIf(!linux)("no child is started if the reaper cannot be started (needs Linux)", async () => {
  using at = new TempDir();
  const program = at.path("gateway");
  const trace = at.path("started");
  const run = `run-${crypto.randomUUID()}`;
  const args = ["-c", `echo >> "${trace}"; exec "$@"`, "sh", process.execPath, ...fakeArgs()];
  const options = stdioOptions.parse({ id: "a", command: "sh", args, protocol: "legacy" });
  await using set = await listed([options], { run, program });
  expect(set.status()[0]).toMatchObject({ state: "backoff", pids: [], reason: expect.stringContaining("ENOENT") });
  expect(await rejectionOf(set.ask("a", "echo"))).toMatchObject({ code: "upstream-down", detail: { ran: "no" } });
  expect([existsSync(trace), pidsWith(run)]).toEqual([false, []]);
  symlinkSync(process.execPath, program);
  expect(textOf(await until(() => set.ask("a", "echo").catch(() => null), "the reaper"))).toContain("echo");
});
