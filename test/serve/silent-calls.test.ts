import { expect, test } from "bun:test";
import { Door, said } from "../support/front-door.ts";
import { connect } from "../support/sdk.ts";
import { until } from "../support/until.ts";
import { type Event, initialize, modern, numberedOf, pick, toolCall, v2025 } from "../support/wire.ts";

// Calls that send nothing for long: proxies close a silent connection, and the answer would be lost.

const soon = { after: 20, resumable: 20, every: 5 };

/** Returns a door whose tools run until `end` is called. */
function waiting(maxConnections?: number, patience = soon) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const options = { patience, ...(maxConnections !== undefined && { maxConnections }) };
  return { door: new Door(() => promise.then(() => said("done")), options), end: resolve };
}

const isStream = ({ headers }: Response) => headers.get("content-type")?.startsWith("text/event-stream") ?? false;

const all = (response: Response): Promise<Event[]> => Array.fromAsync(numberedOf(response));

test("FIELD T44: a long call gets its stream before its answer, in both eras, with and without a session", async () => {
  const { door, end } = waiting();
  await using _ = door;
  const session = await door.session();
  const { body, headers } = modern("tools/call", { name: "echo" });
  const sent = await Promise.all([
    door.send(toolCall("echo"), { headers: session }),
    door.send(toolCall("echo"), { headers: v2025 }),
    door.send(body, { headers }),
    door.send([toolCall("echo")], { headers: { "mcp-protocol-version": "2025-03-26" } }),
  ]);
  expect(sent.map((response) => [response.status, isStream(response)])).toEqual(sent.map(() => [200, true]));
  expect([door.running.size, door.traffic.streams]).toEqual([4, 4]);
  end();
  const events = await Promise.all(sent.map(all));
  expect(events.map((each) => each.map(({ id }) => id))).toEqual([["1-0", "1-1"], [null], [null], [null]]);
  for (const each of events) expect(pick(each.at(-1)?.data, "result.content.0.text")).toBe("done");
});

test("FIELD T43: a call cut off before its server sent anything can be resumed if the client accepts bare event ids", async () => {
  const { door, end } = waiting(undefined, { ...soon, after: 600_000 });
  await using _ = door;
  const [older, session] = [await door.session("2025-06-18"), await door.session()];
  const other = door.send(toolCall("echo"), { headers: older });
  await until(() => door.running.size === 1, "the older client's call runs");
  /** Returns the id of a stream's first event, then disconnects the stream. */
  const cutOff = async (open: (signal: AbortSignal) => Promise<Response>): Promise<string> => {
    const abort = new AbortController();
    const { value: first } = await numberedOf(await open(abort.signal)).next();
    abort.abort();
    await until(() => door.traffic.streams === 0, "the gateway to notice");
    return first?.id ?? "";
  };
  const resume = (id: string, signal?: AbortSignal) =>
    door.request("GET", { headers: { ...session, "last-event-id": id }, ...(signal && { signal }) });
  const first = await cutOff((signal) => door.send(toolCall("echo"), { headers: session, signal }));
  // Some clients resume only with the id of the latest stream.
  const second = await cutOff((signal) => resume(first, signal));
  end();
  const back = await resume(second);
  expect((await all(back)).map(({ data }) => pick(data, "result.content.0.text"))).toEqual(["done"]);
  expect(isStream(await other)).toBe(false);
});

test("a client that does not name event streams gets JSON, however long the call takes", async () => {
  const { door, end } = waiting();
  await using _ = door;
  const accepts = ["application/json", "*/*"];
  const answers = accepts.map((accept) => door.send(toolCall("echo"), { headers: { ...v2025, accept } }));
  await until(() => door.running.size === accepts.length, "the calls to run");
  // The oldest requests are checked first.
  const later = await door.send(toolCall("echo"), { headers: v2025 });
  end();
  for (const answer of [...(await Promise.all(answers)), later]) {
    expect([isStream(answer), await answer.text()]).toEqual([answer === later, expect.stringContaining("done")]);
  }
});

test("the answer to initialize is never a stream, since it names the session in a header", async () => {
  const { door, end } = waiting();
  await using _ = door;
  const { audit } = door.gw;
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const recordEvent: typeof audit.recordEvent = async () => {
    begun.resolve();
    await held.promise;
  };
  Object.assign(door.gw, { audit: { ...audit, recordEvent } });
  const opening = door.post(initialize());
  await begun.promise;
  const later = await door.send(toolCall("echo"), { headers: v2025 });
  held.resolve();
  expect((await opening).headers.get("mcp-session-id")).not.toBeNull();
  end();
  await later.text();
});

test("nor is the answer to an initialize that names a previous session, even if its client prefers event streams", async () => {
  await using door = new Door(() => said("done"));
  const before = await door.session();
  const headers = { ...before, accept: "text/event-stream, application/json" };
  const opened = await door.post(initialize(), { headers });
  expect(opened.headers.get("content-type")).toBe("application/json");
  expect(opened.headers.get("mcp-session-id")).toBeString();
  expect(opened.headers.get("mcp-session-id")).not.toBe(before["mcp-session-id"] ?? null);
});

test("T26: a call whose client disconnected its stream counts as a connection until it has ended", async () => {
  const { door, end } = waiting(2);
  await using _ = door;
  const cuts = [new AbortController(), new AbortController()];
  const sent = await Promise.all(cuts.map(({ signal }) => door.send(toolCall("echo"), { headers: v2025, signal })));
  expect(sent.map(isStream)).toEqual([true, true]);
  for (const cut of cuts) cut.abort();
  await until(() => door.traffic.streams === 0, "the gateway to notice");
  expect(door.running.size).toBe(2);
  expect((await door.post(toolCall("echo"))).status).toBe(503);
  end();
  await until(async () => (await door.post(toolCall("echo"))).status === 200, "room for a call");
});

test("the official 1.x client reads the answer from the stream", async () => {
  const { door, end } = waiting();
  await using _ = door;
  await using client = await connect("1.x", { url: `${door.url}/mcp`, key: "alice" });
  await until(() => door.traffic.streams === 1, "the client listens");
  const answer = client.call("echo");
  await until(() => door.traffic.streams === 2, "the call has its stream");
  end();
  expect(pick(await answer, "content.0.text")).toBe("done");
});
