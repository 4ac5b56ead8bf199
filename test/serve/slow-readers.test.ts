import { describe, expect, test } from "bun:test";
import { noCapabilities } from "../../src/core/inbound.ts";
import { localSource } from "../../src/core/principal.ts";
import { allLists } from "../../src/session/notifier.ts";
import { Door, said } from "../support/front-door.ts";
import { dial, requestText } from "../support/raw-http.ts";
import { until } from "../support/until.ts";
import { initialize, numberedOf, toolCall } from "../support/wire.ts";

// Event streams over real sockets with slow readers.

/** Returns the text of a request for an event stream on its own connection. */
const forEvents = (path: string, headers: string[] = [], body = ""): string => {
  const all = ["Accept: text/event-stream, application/json", ...headers, "Connection: close"];
  if (body) all.push("Content-Type: application/json", `Content-Length: ${body.length}`);
  return requestText(`${body ? "POST" : "GET"} ${path}`, all, body);
};

/** Returns a client that reads the first event of a response and then pauses until it is told to continue. */
function slowReader(door: Door) {
  const client = dial(door);
  const firstOf = async (text: string): Promise<string> => {
    client.write(text);
    let got = "";
    for await (const chunk of client.iterator({ destroyOnReturn: false })) {
      got += chunk;
      if (/\n\n/.test(got)) break;
    }
    return got;
  };
  const rest = async (): Promise<number> => {
    let length = 0;
    client.on("data", (chunk) => void (length += chunk.length));
    await new Promise((resolve) => client.once("close", resolve));
    return length;
  };
  /** Reads until this text arrives. */
  const until = async (text: string): Promise<void> => {
    let got = "";
    for await (const chunk of client.iterator({ destroyOnReturn: false })) {
      got = got.slice(-text.length) + chunk;
      if (got.includes(text)) return;
    }
    throw new Error(`The stream ended without ${text}.`);
  };
  return { firstOf, rest, until };
}

describe("a client that does not read for a while is still notified that its lists changed", () => {
  /** Changes the lists at a moment when the queue of alice's client is full, then lets that client read. */
  async function change(door: Door, reader: ReturnType<typeof slowReader>, join: () => Promise<unknown>) {
    const full = Promise.withResolvers<void>();
    const notice = { server: "git", method: "notifications/message", owner: door.who("alice").id, session: null };
    const params = JSON.stringify({ level: "error", data: "x".repeat(64 * 1024) });
    const bob = { who: door.who("bob"), source: localSource("stdio"), scope: null, capabilities: noCapabilities };
    // Bob is notified before the client, since he joined first.
    const send = (): void => {
      while (door.traffic.lost === 0) door.notifier.notice({ ...notice, params });
      full.resolve();
    };
    door.notifier.join({ ...bob, lists: allLists, send });
    await join();
    door.shown = "2";
    door.notifier.changed();
    await full.promise;
    await reader.until("notifications/tools/list_changed");
  }

  test("the stream of a session", async () => {
    await using door = new Door(() => said(""));
    const reader = slowReader(door);
    const session = Object.entries(await door.session()).map(([name, value]) => `${name}: ${value}`);
    await change(door, reader, () => reader.firstOf(forEvents("/mcp", session)));
  });

  test("the HTTP+SSE transport", async () => {
    await using door = new Door(() => said(""));
    const reader = slowReader(door);
    const path = /data: (\S+)/.exec(await reader.firstOf(forEvents("/sse")))?.[1];
    await change(door, reader, async () => {
      await door.post(initialize("2024-11-05"), { path: path ?? "" });
      await until(() => door.notifier.size === 2, "the session to be told of changes");
    });
  });
});

describe("T42: a client whose key was revoked gets none of its unread bytes", () => {
  const size = 16_000_000;
  const large = JSON.stringify(toolCall("echo", {}, "large"));
  const play = () => new Door(() => said("x".repeat(size)));

  async function cutOff(door: Door, { rest }: ReturnType<typeof slowReader>): Promise<void> {
    await until(() => door.ended.some(({ inbound: { method } }) => method === "tools/call"), "the answer to be sent");
    door.who("alice").revoke();
    await until(() => door.traffic.streams === 0, "the stream to end");
    expect(await rest()).toBeLessThan(size / 2);
  }

  test("the stream of a call", async () => {
    await using door = play();
    const reader = slowReader(door);
    const session = Object.entries(await door.session()).map(([name, value]) => `${name}: ${value}`);
    await reader.firstOf(forEvents("/mcp", session, large));
    await cutOff(door, reader);
  });

  test("the HTTP+SSE transport", async () => {
    await using door = play();
    const reader = slowReader(door);
    const path = /data: (\S+)/.exec(await reader.firstOf(forEvents("/sse")))?.[1];
    await door.post(large, { path: path ?? "" });
    await cutOff(door, reader);
  });
});

test("T43 messages beyond what is kept for a disconnected client are counted as lost when it reconnects", async () => {
  const left = Promise.withResolvers<void>();
  const note = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":0}}';
  await using door = new Door(async (call) => {
    call.emit?.(note);
    await left.promise;
    for (let n = 0; n < 300; n++) call.emit?.(note);
    return said("the answer");
  });
  const headers = await door.session();
  const abort = new AbortController();
  const events = numberedOf(await door.send(toolCall("echo"), { headers, signal: abort.signal }));
  for (const id of ["1-0", "1-1"]) expect((await events.next()).value).toMatchObject({ id });
  abort.abort();
  await until(() => door.traffic.streams === 0, "the gateway to notice");
  left.resolve();
  await until(() => door.running.size === 0, "the end of the call");
  const back = numberedOf(await door.request("GET", { headers: { ...headers, "last-event-id": "1-1" } }));
  expect((await Array.fromAsync(back)).filter(({ data }) => data !== null)).toHaveLength(256);
  expect(door.traffic.lost).toBe(301 - 256);
});
