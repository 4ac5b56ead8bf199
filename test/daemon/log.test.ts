import { expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { daemonCommand, everything, fake, Place, start, strongKey } from "../support/daemon.ts";
import { linesOf } from "../support/seen.ts";
import { TempDir } from "../support/temp-dir.ts";
import { toolCall } from "../support/wire.ts";

// Each daemon is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

type Line = Readonly<Record<string, unknown>>;

const times = 30;
const each = Array.from({ length: times }, (_, index) => index);

test("R63 neither guessing keys nor calling a broken server repeatedly fills the log", async () => {
  await using daemon = await start({ servers: [fake("fake")], policies: [everything()] });
  const key = await daemon.place.key("alice");
  const stream = { headers: { accept: "text/event-stream", authorization: `Bearer ${strongKey()}` } };
  expect((await fetch(`${daemon.url}/sse`, stream)).status).toBe(401);
  for (const id of each.slice(1)) {
    expect((await daemon.call("fake__echo", {}, strongKey(), id)).status).toBeGreaterThan(400);
  }
  for (const id of each) await daemon.call("fake__both", {}, key, id);
  // Mistakes of a client alone are not logged.
  expect((await daemon.stream(key, { "mcp-session-id": "gone" })).status).toBe(404);
  await daemon.stop();

  const logged = (msg: string) => daemon.log.filter((line) => line.msg === msg);
  const total = (lines: typeof daemon.log) => lines.reduce((sum, { count }) => sum + Number(count ?? 1), 0);
  const refused = logged("credential refused");
  expect(refused).toMatchObject([
    { level: "warn", src: "http:127.0.0.1", cause: "no such key" },
    { level: "warn", src: "http:127.0.0.1", cause: "no such key" },
  ]);
  expect(total(refused)).toBe(times);
  const failed = logged("request failed");
  expect(new Set(failed.map(({ level, server }) => `${String(level)} ${String(server)}`))).toEqual(
    new Set(["error fake"]),
  );
  expect(failed.length).toBeLessThanOrEqual(2 * new Set(failed.map(({ code }) => code)).size);
  expect(total(failed)).toBe(times);
});

test("R63 crashing the instance of each of many sessions does not fill the log", async () => {
  await using daemon = await start({ servers: [fake("fake")], policies: [everything()] });
  const key = await daemon.place.key("alice");
  const crash = async (id: number): Promise<void> => {
    const headers = await daemon.session(key, "2025-11-25", { capabilities: { roots: {} } });
    expect((await daemon.post(toolCall("fake__crash", {}, id), { key, headers })).status).toBe(200);
  };
  for (const id of each.slice(0, 5)) await crash(id);
  await daemon.stop();
  const ended = daemon.log.filter(({ msg }) => msg === "an instance of a server ended");
  expect(ended).toMatchObject([
    { level: "warn", server: "fake", reason: expect.stringContaining("7") },
    { level: "warn", server: "fake", reason: expect.stringContaining("7"), count: 4 },
  ]);
});

test("R63 the log names refused page origins, which browsers hide, and is not filled by them", async () => {
  await using daemon = await start({ servers: [], policies: [everything()] });
  for (const id of each) {
    const headers = { origin: `http://page-${id}.test` };
    expect((await fetch(`${daemon.url}/mcp`, { method: "POST", headers, body: "{}" })).status).toBe(403);
  }
  await daemon.stop();
  const refused = daemon.log.filter(({ msg }) => msg === "request refused");
  expect(refused).toMatchObject([
    { level: "warn", cause: expect.stringContaining("Origin http://page-0.test may not") },
    { level: "warn", count: times - 1 },
  ]);
});

test("the log of a process with unread standard error is bounded, and says how many lines were lost", async () => {
  const module = join(import.meta.dir, "../../src/daemon/own-log.ts");
  const program = `
    const { openLog } = await import(${JSON.stringify(module)});
    const log = openLog({ level: "info", format: "json" });
    for (let i = 0; i < 10_000; i += 1) log.info("filler", { of: "x".repeat(1_000) });
    process.stdout.write("written");
    for await (const _ of process.stdin) log.info("read");`;
  using temp = new TempDir();
  const pipe = temp.path("stderr");
  Bun.spawnSync(["mkfifo", pipe]);
  // A pipe that is open for reading but not read.
  const unread = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const end = openSync(pipe, "w");
  const child = Bun.spawn([process.execPath, "-e", program], { stdin: "pipe", stdout: "pipe", stderr: end });
  closeSync(end);
  await child.stdout.getReader().read();
  const reader = Bun.spawn(["cat", pipe], { stdout: "pipe" });

  let read = 0;
  let lost: unknown;
  for await (const text of linesOf(reader.stdout)) {
    const { msg, lines } = JSON.parse(text) as Line;
    if (msg === "filler") read += 1;
    lost ??= lines;
    if (lost === undefined) void child.stdin.write("\n");
    else void child.stdin.end();
  }
  closeSync(unread);
  expect(read * 1_000).toBeLessThan(2 << 20);
  expect(Number(lost) + read).toBeGreaterThanOrEqual(10_000);
});

/** Command prefix that sets JOURNAL_STREAM to the command's own standard error, as systemd does. */
const underJournal = ["sh", "-c", 'export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec "$@"', "sh"];

/** Returns the log lines of a daemon until it is ready. */
async function firstLines(place: Place, env: Record<string, string> = {}): Promise<string[]> {
  const child = place.spawn(daemonCommand, env);
  const lines: string[] = [];
  for await (const line of linesOf(child.stderr)) {
    lines.push(line);
    if (line.includes('"ready"')) child.kill();
  }
  return lines;
}

test("R118 each line has a priority for the journal, and none if standard error is not the journal", async () => {
  using place = new Place({ servers: [], policies: [] });
  const plain = await firstLines(place, { JOURNAL_STREAM: "1:1" });
  expect(plain).toEqual(plain.map(() => expect.stringMatching(/^\{/)));
  expect(plain).not.toEqual([]);
  place.prefix = underJournal;
  const lines = await firstLines(place);
  const levels = lines.map((line) => `${line.slice(0, 3)} ${String((JSON.parse(line.slice(3)) as Line).level)}`);
  expect(new Set(levels)).toEqual(new Set(["<4> warn", "<6> info"]));
});

test("R118 a start that fails because of the configuration has error priority in the journal", async () => {
  using place = new Place({ serverz: [], policiez: [] });
  place.prefix = underJournal;
  const { stderr, code } = await place.cli(["daemon"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/^(<3>.*\n){2,}$/);
});
