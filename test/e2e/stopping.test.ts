import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { tryLock } from "../../src/core/libc.ts";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { linesOf } from "../support/seen.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { until } from "../support/until.ts";
import { eventsOf, initialize, pick, textOf, toolCall } from "../support/wire.ts";

// What a daemon that is told to stop waits for, and what it leaves behind.

// Far below the time that calls may take.
setDefaultTimeout(30_000);

const capabilities = { elicitation: {} };
const question = { method: "elicitation/create", params: { message: "Which one?", requestedSchema: {} } };
const call = toolCall("old__ask", question, 7);

/** Yields the messages that the client of a session is sent about its call. */
async function inSession(daemon: Daemon, key: string): Promise<AsyncGenerator<unknown>> {
  const headers = await daemon.session(key, "2025-11-25", { capabilities });
  return eventsOf(await daemon.send(call, { key, headers }));
}

/** Yields the same over HTTP+SSE, where one stream carries all messages. */
async function* onPair(daemon: Daemon, key: string): AsyncGenerator<unknown> {
  const headers = { authorization: `Bearer ${key}`, accept: "text/event-stream" };
  const { body } = await fetch(`${daemon.url}/sse`, { headers });
  let path: string | null = null;
  for await (const line of linesOf(body)) {
    const data = line.startsWith("data: ") ? line.slice("data: ".length) : null;
    if (data === null) continue;
    if (path !== null) {
      const message = JSON.parse(data) as { id?: unknown };
      if (message.id === 0) await daemon.post(call, { key, path });
      else yield message;
      continue;
    }
    path = data;
    await daemon.post(initialize("2024-11-05", 0, capabilities), { key, path });
  }
}

test.each([inSession, onPair])(
  "T46: a stop does not wait for answers of legacy clients, which can no longer arrive: %p",
  async (open) => {
    await using daemon = await start({ servers: [fake("old", ["--rich"])], policies: [everything()] });
    const told = await open(daemon, await daemon.place.key("agent"));
    expect(pick((await told.next()).value, "method")).toBe("elicitation/create");
    const stopped = daemon.stop();
    expect(JSON.stringify((await told.next()).value)).toContain(
      "The gateway is stopping, so the client's answer could no longer reach it.",
    );
    expect(await stopped).toBe(0);
    const ends = (await daemon.place.records()).filter(({ type, tool }) => type === "call.end" && tool === "ask");
    expect(ends).toMatchObject([{ st: "ok" }]);
  },
);

test("R114, T46: a daemon that stops begins no more calls that arrive over its control socket", async () => {
  await using daemon = await start({
    servers: [fake("fake", [], { isolation: "shared" })],
    policies: [everything(), everything("admin")],
  });
  const { place } = daemon;
  await using client = new StdioClient(place, { MCPGW_API_KEY: await place.key("alice") });
  await client.open();
  const file = join(place.dir, "go-on");
  const running = client.call("fake__slow", { ms: 0, file });
  await until(() => place.calls("fake").length === 1, "the call runs");
  const exit = daemon.stop("SIGTERM");
  const why = "The gateway is stopping. The call did not run.";
  await until(async () => textOf(await client.call("fake__echo")) === why, "no further call is taken");
  const begun = place.calls("fake").length;
  expect(textOf(await client.call("fake__echo"))).toBe(why);
  expect(await place.cli(["tools", "call", "fake:echo"])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(why),
  });
  writeFileSync(file, "");
  expect(textOf(await running)).toBe(JSON.stringify({ ms: 0, file }));
  expect(await exit).toBe(0);
  expect(place.calls("fake")).toHaveLength(begun);
});

test("a daemon that reports that it has stopped holds no lock, so a supervisor may start the next one", async () => {
  await using daemon = await start({ servers: [fake("a")], policies: [everything()] });
  const { state } = daemon.place;
  const freed = daemon
    .logged(({ msg }) => msg === "stopped")
    .then(() => ["lock", "audit/main.lock"].map((file) => tryLock(join(state, file))));
  expect(await daemon.stop()).toBe(0);
  for (const lock of await freed) {
    expect(lock).not.toBeNull();
    lock?.[Symbol.dispose]();
  }
});

test("R88: a command-line call through a daemon that is then killed reports that the call may have run", async () => {
  await using daemon = await start({ servers: [fake("fake")], policies: [everything("admin")] });
  const { place } = daemon;
  const called = place.cli(["tools", "call", "fake:slow", "ms=60000"]);
  await until(() => place.calls("fake").length === 1, "the call runs");
  daemon.child.kill("SIGKILL");
  expect(await called).toMatchObject({
    code: 4,
    stdout: "",
    stderr: expect.stringContaining("; the call may have run; check"),
  });
});
