import { expect, setDefaultTimeout, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { type Daemon, everything, fake, Place } from "../support/daemon.ts";
import { mcpgw } from "../support/mcpgw.ts";
import { linesOf, Seen } from "../support/seen.ts";
import { until } from "../support/until.ts";
import { modern } from "../support/wire.ts";

// A reader of the live log outlives the daemon.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = { servers: [fake("fake")], policies: [everything()] };

type Line = { readonly seq: number; readonly type: string; readonly tool: string | null; readonly line?: string };

class Reader implements AsyncDisposable {
  readonly lines = new Seen<Line>();
  readonly said = new Seen<string>();
  readonly child;
  readonly #read: Promise<unknown>;

  constructor(child: ReturnType<Place["spawn"]>) {
    this.child = child;
    this.#read = Promise.all([
      (async () => {
        for await (const line of linesOf(child.stdout)) this.lines.push(JSON.parse(line) as Line);
      })(),
      (async () => {
        for await (const line of linesOf(child.stderr)) this.said.push(line);
      })(),
    ]);
  }

  get losses(): number {
    return this.said.all.filter((line) => line.includes("waiting for it to come back")).length;
  }

  /** Calls a tool until the reader shows it, since the reader may start later than the first calls. */
  async follows(daemon: Daemon, key: string): Promise<void> {
    await until(async () => {
      await daemon.call("fake__echo", {}, key);
      return this.lines.all.length > 0;
    }, "the reader follows");
  }

  async interrupt(): Promise<unknown> {
    this.child.kill("SIGINT");
    await this.child.exited;
    await this.#read;
    return this.child.signalCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
  }
}

test("R123: tail continues when the daemon is back, shows every record once, and Ctrl-C ends it while it waits", async () => {
  using place = new Place(config);
  await using running = new AsyncDisposableStack();
  let daemon = running.use(await place.start());
  const key = await place.key("alice");
  await using reader = new Reader(place.spawn(["tail", "--json"]));
  await reader.follows(daemon, key);
  for (const [index, signal] of (["SIGTERM", "SIGKILL"] as const).entries()) {
    await daemon.stop(signal);
    await until(() => reader.losses === index + 1, "the loss is told");
    daemon = running.use(await place.start());
    await daemon.call("fake__echo", {}, key);
    const newest = (await place.records()).filter(({ type }) => type === "call.end").at(-1);
    await reader.lines.first(({ seq }) => seq === newest?.seq);
  }
  const first = reader.lines.all[0]?.seq ?? 0;
  const left = new Set(["call.begin", "checkpoint"]);
  const records = (await place.records()).filter(({ seq, type }) => seq >= first && !left.has(type));
  const told = reader.lines.all.map(({ seq }) => seq);
  expect(told).toEqual(records.map(({ seq }) => seq).slice(0, told.length));
  await daemon.stop();
  await until(() => reader.losses === 3, "the loss is told");
  expect(await reader.interrupt()).toBe("SIGINT");
  expect(reader.said.all).toHaveLength(3);
});

test("R123: tail reports that the log was replaced, and continues with the new one", async () => {
  using place = new Place(config);
  await using old = await place.start();
  await using reader = new Reader(place.spawn(["tail", "--json"]));
  await reader.follows(old, await place.key("alice"));
  await old.stop();
  for (const dir of [place.state, place.heads]) rmSync(dir, { recursive: true });
  await using daemon = await place.start();
  const key = await place.key("bob");
  await reader.said.first((line) => line.includes("the log was replaced or restored from an older copy"));
  await daemon.call("fake__count", {}, key);
  await reader.lines.first(({ tool }) => tool === "count");
  const own = reader.lines.all.slice(
    reader.lines.all.findLastIndex(({ seq }, at, all) => seq < (all[at - 1]?.seq ?? 0)),
  );
  const records = (await place.records()).filter(({ type }) => type !== "call.begin" && type !== "checkpoint");
  expect(own.map(({ seq }) => seq)).toEqual(records.map(({ seq }) => seq).slice(0, own.length));
  expect(await reader.interrupt()).toBe("SIGINT");
  expect(reader.said.all).toHaveLength(2);
});

test("R123: doubts about the socket are reported once, and an unreadable file does not end the wait", async () => {
  using place = new Place(config);
  const torn = place.path("torn.yaml");
  writeFileSync(torn, "control: [\n");
  await using running = new AsyncDisposableStack();
  let daemon = running.use(await place.start());
  const key = await place.key("alice");
  const child = Bun.spawn([...mcpgw, "tail", "--json", "--config", torn, "--state", place.state], {
    cwd: place.dir,
    env: place.env(),
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  await using reader = new Reader(child);
  await reader.follows(daemon, key);
  await daemon.stop();
  await until(() => reader.losses > 0, "the loss is told");
  const before = reader.lines.all.length;
  daemon = running.use(await place.start());
  await until(() => reader.lines.all.length > before, "the reader goes on");
  expect(await reader.interrupt()).toBe("SIGINT");
  const [doubt, loss, ...more] = reader.said.all;
  expect(doubt).toStartWith("mcpgw: warning: could not read the socket from");
  expect(loss).toContain("waiting for it to come back");
  // While the socket is gone, only the file could tell where it is.
  expect(more.filter((line) => !line.startsWith(`mcpgw: ${torn}:2:1: `))).toEqual([]);
});

test("R24: servers logs --follow continues over a restart, a reload and a new daemon, and ends with the server", async () => {
  const { command, args, ...rest } = fake("fake");
  /** Returns a server that prints its number to standard error whenever it starts and whenever it ends. */
  const telling = (number: number) => {
    const script = `echo number ${number} >&2; "$@"; echo end of number ${number} >&2`;
    return {
      servers: [{ ...rest, command: "sh", args: ["-c", script, "sh", command, ...args] }],
      policies: [everything()],
    };
  };
  using place = new Place(telling(1));
  await using running = new AsyncDisposableStack();
  const daemon = running.use(await place.start());
  await using reader = new Reader(place.spawn(["--json", "servers", "logs", "fake", "-f"]));
  const ends = () => reader.lines.all.filter(({ line }) => line?.endsWith(" end of number 1")).length;
  const told = async (number: number, times: number) => {
    const own = () =>
      reader.lines.all.filter(({ line }) => line?.endsWith(` number ${number}`) && !line.includes("end"));
    await until(() => own().length >= times, `${times} times ${number}`);
    return own().map(({ line }) => line);
  };
  const [first = ""] = await told(1, 1);
  const before = (await told(1, 1)).length;
  expect((await place.cli(["servers", "restart", "fake"])).code).toBe(0);
  await told(1, before + 1);
  const gone = new AbortController();
  const { body, headers } = modern("tools/call", { name: "fake__hang", arguments: {} });
  const hung = daemon.send(body, { key: await place.key("alice"), headers, signal: gone.signal }).catch(() => null);
  await until(() => place.calls("fake").includes("hang"), "a call that keeps the old server");
  place.configure(telling(2));
  expect((await place.cli(["config", "reload"])).code).toBe(0);
  await told(2, 1);
  gone.abort();
  await hung;
  const started = (await told(1, before + 1)).length;
  await until(() => ends() === started, "the old server's last word");
  await daemon.stop();
  await until(() => reader.losses === 1, "the loss is told");
  place.configure(telling(3));
  running.use(await place.start());
  await told(3, 1);
  expect(reader.lines.all.filter(({ line }) => line === first)).toHaveLength(1);
  place.configure({ servers: [], policies: [] });
  expect((await place.cli(["config", "reload"])).code).toBe(0);
  expect(await reader.child.exited).toBe(1);
  await reader.said.first((line) => line.includes("there is no server fake"));
});
