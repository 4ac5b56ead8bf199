import { expect, test } from "bun:test";
import { rejectionOf } from "../../support/failure.ts";
import {
  event,
  events,
  isCall,
  type Message,
  opens,
  refusal,
  reply,
  serve,
  serveSessions,
  text,
  unknownSession,
} from "../../support/mcp-server.ts";
import { until } from "../../support/until.ts";
import { http, listed, textOf } from "../../support/upstream.ts";

type Shape = (message: Message, session: string) => Response;
const failed = (id: unknown, code: number, message: string): unknown => ({
  jsonrpc: "2.0",
  id,
  error: { code, message },
});

/**
 * A server with numbered sessions. `shape` answers the calls in lost sessions; a caller's first session is the second
 * one.
 */
function sessions(shape: Shape, isLost: (session: number) => boolean) {
  const counts = { opened: 0, ran: 0 };
  const server = serve((message, request) => {
    if (message.method === "initialize") return opens(message.id, `session-of-somebody-${++counts.opened}`);
    if (!isCall(message) && message.method !== "prompts/get") return null;
    const session = request.headers.get("mcp-session-id") ?? "";
    if (isLost(Number(session.slice(-1)))) return shape(message, session);
    counts.ran++;
    return reply(message.id, text("ok"));
  });
  return { server, counts, [Symbol.dispose]: () => server[Symbol.dispose]() };
}

const refusals: [string, Shape][] = [
  ["404 without a body", () => new Response(null, { status: 404 })],
  ["404 text", () => new Response("Session not found", { status: 404 })],
  ["404 -32001", ({ id }) => refusal(id, -32001, "Session not found", 404)],
  ["404 -32600", ({ id }) => refusal(id, -32600, "Session not found", 404)],
  ["400 -32600", ({ id }) => refusal(id, -32600, "Bad Request: Session expired", 400)],
  ["400 -32000", ({ id }) => refusal(id, -32000, "Bad Request: No valid session ID provided", 400)],
  ["400 -32000 without an id", () => refusal(null, -32000, "Bad Request: No valid session ID provided", 400)],
  ["400 -32022", ({ id }) => refusal(id, -32022, "Unsupported protocol version", 400)],
  ["200 -32600", ({ id }) => refusal(id, -32600, "Session not found")],
  ["200 -32600 as a stream", ({ id }) => events(event(failed(id, -32600, "Session not found")))],
  ["400 -32000 of the official SDK", () => refusal(null, -32000, "Bad Request: Server not initialized", 400)],
  ["400 -32002 with the call's id", ({ id }) => refusal(id, -32002, "Server not initialized", 400)],
  ["200 -32600 that names the session", ({ id }, session) => refusal(id, -32600, `Session ${session} not found`)],
  [
    "404 -32600 with a foreign id",
    () => refusal("server-error", -32600, "Not Found: Session has been terminated", 404),
  ],
  ["400 -32000 in other words", () => refusal(null, -32000, "Bad Request: Unknown Mcp-Session-Id header", 400)],
  ["400 -32000 of the handshake", () => refusal(null, -32000, "Bad Request: initialize first", 400)],
  ["400 -32600 of another session", () => refusal(null, -32600, "Session ID mismatch", 400)],
  ["400 text", () => new Response("Invalid or missing session ID", { status: 400 })],
  [
    "400 text of the handshake",
    () => new Response("Received request before initialization was complete", { status: 400 }),
  ],
  ["400 with other JSON", () => Response.json({ error: "session_expired" }, { status: 400 })],
  ["401 of older official Rust SDKs", () => new Response("Unauthorized: Session not found", { status: 401 })],
  ["410 without a body", () => new Response(null, { status: 410 })],
  [
    "404 with an endless body",
    () => new Response(new ReadableStream({ start: (body) => body.enqueue("gone") }), { status: 404 }),
  ],
  ["404 without an id", () => refusal(null, -32000, "Not Found", 404)],
  ["404 with a malformed error", () => Response.json({ jsonrpc: "2.0", id: "x", error: "gone" }, { status: 404 })],
  [
    "404 with the call's id that names the session",
    ({ id }, session) => refusal(id, -32000, `No session ${session}: unknown session`, 404),
  ],
];
test.each(refusals)(
  "FIELD T45: a lost session (%s) is replaced by a new one, and the call runs once",
  async (_, shape) => {
    using lost = sessions(shape, (session) => session === 2);
    await using set = await listed([http("a", lost.server.url, { getStream: "off" })]);
    expect(textOf(await set.ask("a", "t"))).toBe("ok");
    expect(lost.counts).toEqual({ opened: 3, ran: 1 });
  },
);

const ambiguous: [string, number, Shape][] = [
  ["200 -32600", -32600, ({ id }) => refusal(id, -32600, "Session expired")],
  ["200 -32001", -32603, ({ id }) => refusal(id, -32001, "Session not found")],
  ["200 -32602", -32602, ({ id }) => refusal(id, -32602, "session expired")],
  ["200 -32602 as a stream", -32602, ({ id }) => events(event(failed(id, -32602, "session expired")))],
  ["200 -32000", -32000, ({ id }) => refusal(id, -32000, "Bad Request: No valid session ID provided")],
  ["500 -32603", -32603, ({ id }) => refusal(id, -32603, "Unknown session", 500)],
  ["500 -32600", -32600, ({ id }) => refusal(id, -32600, "Session not found", 500)],
];
test.each(ambiguous)(
  "FIELD T1 T45: after an error that may be a tool's own, a call is not repeated, but a read is: %s",
  async (_, code, shape) => {
    using lost = sessions(shape, (session) => session === 2);
    await using set = await listed([http("a", lost.server.url, { getStream: "off" })]);
    expect(await set.ask("a", "t")).toMatchObject({ kind: "error", code });
    expect([lost.server.of("tools/call").length, lost.counts.opened]).toEqual([1, 2]);
    expect((await set.ask("a", "x", {}, { request: { method: "prompts/get", edits: {} } })).kind).toBe("result");
    expect([lost.server.of("prompts/get").length, lost.counts.opened]).toEqual([2, 3]);
  },
);

const doubtful: [string, Shape][] = [
  ...ambiguous.map(([name, , shape]): [string, Shape] => [name, shape]),
  ["200 text", () => new Response("Session not found")],
  ["200 -32600 with a foreign id", () => refusal("server-error", -32600, "Session not found")],
  ["403 text", () => new Response("Session expired", { status: 403 })],
  ["422 text", () => new Response("Session has expired", { status: 422 })],
  ["500 text", () => new Response("Session not found.", { status: 500 })],
  ["500 -32603 without an id", () => refusal(null, -32603, "Session not found", 500)],
  [
    "404 with a malformed error with the call's id",
    ({ id }) => Response.json({ jsonrpc: "2.0", id, error: "gone" }, { status: 404 }),
  ],
];
test.each(doubtful)(
  "FIELD T1 T45: a call refused with such an error is not repeated, but its lost session is renewed: %s",
  async (_, shape) => {
    let lost = 0;
    const asked: number[] = [];
    using server = serveSessions((message, session, request) => {
      if (session === null || request.method === "DELETE") return null;
      if (isCall(message)) asked.push(Number(session.slice(1)));
      return Number(session.slice(1)) > lost ? null : shape(message, session);
    });
    await using set = await listed([http("a", server.url, { getStream: "off" })]);
    const call = (): Promise<string> => set.ask("a", "t").then(textOf, () => "");
    expect(await call()).toBe("ok");
    lost = server.opened();
    expect(await call()).not.toBe("ok");
    expect(await call()).toBe("ok");
    expect(asked).toEqual([2, 2, 3]);
  },
);

const inText = (words: string) => (): Response => new Response(words, { status: 400 });
const inJson = (words: string, id: unknown) => (): Response => refusal(id, -32000, words, 400);
const unasked: [string, number, (message: Message) => Response][] = [
  ["words about something else", 1, inText("Payment failed: could not initialize the card terminal")],
  ["words about another session", 1, inText("The checkout session of this customer is closed")],
  ["the end of a session that never existed", 1, inText("Session expired")],
  ["a request for a session", 2, inText("Invalid or missing session ID")],
  ["the same with the call's id", 1, ({ id }) => inJson("Invalid or missing session ID", id)()],
  ["the end of a session with the call's id", 1, ({ id }) => inJson("Session expired", id)()],
  ["an error about something else", 1, inJson("Payment failed: could not initialize the card terminal", null)],
  ["an error about an invalid session", 1, inJson("Invalid session", null)],
  ["the error of the official TypeScript SDK", 2, inJson("Bad Request: Mcp-Session-Id header is required", null)],
  ["the error of the official Python SDK", 2, inJson("Bad Request: Missing session ID", "server-error")],
];
test.each(unasked)(
  "FIELD T1 T45: a server without sessions that refuses a call with 400 and %s receives it %i time(s)",
  async (_, times, shape) => {
    let refuse = false;
    using server = serve((message) => (refuse && isCall(message) ? shape(message) : null));
    await using set = await listed([http("a", server.url, { getStream: "off" })]);
    await set.ask("a", "t");
    refuse = true;
    await set.ask("a", "t").catch(() => {});
    expect(server.of("tools/call").length).toBe(1 + times);
  },
);

const errors: [string, number, string, number][] = [
  ["200 -32000", -32000, "Checkout session 42 is invalid", 200],
  ["200 -32000 with a complete phrase", -32000, "Session not found", 200],
  ["200 -32001", -32001, "Session 42 not found", 200],
  ["200 -32600", -32600, "Session not found in your calendar", 200],
  ["200 -32603", -32603, "Session not found", 200],
  ["400 -32602", -32602, "Checkout session 42 is invalid", 400],
  ["404 -32602", -32602, "No such customer", 404],
  ["404 -32602 about a session", -32602, "Checkout session 42 is invalid: it was charged already", 404],
  ["404 -32000 about a session", -32000, "Browser session b-7 not found", 404],
  ["500 -32603", -32603, "no valid session in that browser", 500],
];
for (const stream of [false, true]) {
  test.each(errors.filter((one) => !stream || one[3] === 200))(
    `FIELD T45: a tool's own error is forwarded and does not end the session, ${stream ? "as a stream" : "plain"}: %s`,
    async (_, code, words, status) => {
      const own: Shape = ({ id }) =>
        stream ? events(event(failed(id, code, words))) : refusal(id, code, words, status);
      using server = sessions(own, () => true);
      await using set = await listed([http("a", server.server.url, { getStream: "off" })]);
      const answer = await set.ask("a", "t");
      expect(answer).toMatchObject({ kind: "error", code });
      expect(answer.text).toContain(words);
      expect(server.server.of("tools/call").length).toBe(1);
      expect(server.counts.opened).toBe(2);
    },
  );
}

const passed = { "notifications/progress": 1, "notifications/elicitation/complete": 0, "notifications/acme/did": 0 };
test.each(Object.entries(passed))(
  "FIELD T1: a call for which %s was received is never repeated",
  async (method, count) => {
    const said = (id: unknown) => ({ jsonrpc: "2.0", method, params: { progressToken: id, progress: 1 } });
    using server = sessions(
      ({ id }) => events(event(said(id)), event(failed(id, -32600, "Session not found"))),
      () => true,
    );
    await using set = await listed([http("a", server.server.url, { getStream: "off" })]);
    const heard: string[] = [];
    const answer = await set.ask("a", "t", {}, { era: "modern", token: "1", emit: (one) => void heard.push(one) });
    expect(heard.length).toBe(count);
    expect(answer).toMatchObject({ kind: "error", code: -32600 });
    expect(server.server.of("tools/call").length).toBe(1);
  },
);

test("FIELD T45: a refusal that persists in a new session is forwarded unchanged", async () => {
  using server = sessions(
    ({ id }) => refusal(id, -32600, "Session not found"),
    () => true,
  );
  using bare = sessions(
    () => new Response("Invalid session ID", { status: 400 }),
    () => true,
  );
  using gone = sessions(
    () => new Response(null, { status: 404 }),
    () => true,
  );
  await using set = await listed([server, bare, gone].map((one, at) => http("abc"[at]!, one.server.url)));
  const answer = await set.ask("a", "t");
  expect(answer).toMatchObject({ kind: "error", code: -32600 });
  expect(answer.text).toContain("Session not found");
  expect((await rejectionOf(set.ask("b", "t"))).message).toContain(
    "HTTP 400: Invalid session ID. The call may have run",
  );
  expect((await rejectionOf(set.ask("c", "t"))).code).toBe("upstream-down");
  expect([server, bare, gone].map(({ server }) => server.of("tools/call").length)).toEqual([2, 2, 2]);
});

const others: [string, () => Response][] = [
  ["no body", () => new Response(null, { status: 400 })],
  ["text", () => new Response("Bad Request", { status: 400 })],
  ["a page", () => new Response(`<h1>400</h1>${" session".repeat(300)}`, { status: 400 })],
  ["JSON", () => Response.json({ error: "unit must be C or F" }, { status: 400 })],
  ["an error without an id", () => refusal(null, -32600, "Bad Request: unsupported protocol version", 400)],
];
test.each(others)("FIELD T45: a 400 that does not mention a session does not end it: %s", async (_, shape) => {
  using server = sessions(shape, () => true);
  await using set = await listed([http("a", server.server.url, { getStream: "off" })]);
  await set.ask("a", "t").catch(() => {});
  await set.ask("a", "t").catch(() => {});
  expect([server.server.of("tools/call").length, server.counts.opened]).toEqual([2, 2]);
});

const credentials: [string, () => Response][] = [
  ["no body", () => new Response(null, { status: 401 })],
  ["an endless body", () => new Response(new ReadableStream({ start: (body) => body.enqueue("no") }), { status: 401 })],
  ["words about a session of its own", () => new Response("Session not found in your account", { status: 401 })],
  ["JSON", () => refusal(null, -32600, "Unauthorized: Session not found", 401)],
];
test.each(credentials)("FIELD T45 T63: a 401 about credentials does not end the session: %s", async (_, shape) => {
  using server = sessions(shape, (session) => session === 2);
  await using set = await listed([http("a", server.server.url, { getStream: "off" })]);
  expect((await rejectionOf(set.ask("a", "t"))).message).toContain("refuses the gateway's credentials (HTTP 401)");
  expect([server.server.of("tools/call").length, server.counts.opened]).toEqual([1, 2]);
});

const unreadable = {
  "an invalid code": { error: { code: "E_CHARGED", message: "charged, but the mail failed" } },
  "no message": { error: { code: -32602 } },
  "a result too": { error: { code: -32602, message: "no" }, result: {} },
};
test.each(Object.entries(unreadable))(
  "T1 T45: a call in a session that was answered by 404 and an error with %s may have run, and the session is kept",
  async (_, answer) => {
    const own: Shape = ({ id }) => Response.json({ jsonrpc: "2.0", id, ...answer }, { status: 404 });
    using server = sessions(own, () => true);
    await using set = await listed([http("a", server.server.url, { getStream: "off" })]);
    expect((await rejectionOf(set.ask("a", "t"))).detail.ran).toBe("maybe");
    expect([server.server.of("tools/call").length, server.counts.opened]).toEqual([1, 2]);
  },
);
test.each(Object.entries(unreadable))(
  "a call that a server without sessions answered by 404 and an error with %s may have run",
  async (_, answer) => {
    using server = serve((message) =>
      isCall(message) ? Response.json({ jsonrpc: "2.0", id: message.id, ...answer }, { status: 404 }) : null,
    );
    await using set = await listed([http("a", server.url, { getStream: "off" })]);
    expect((await rejectionOf(set.ask("a", "t"))).detail.ran).toBe("maybe");
    expect(server.of("tools/call").length).toBe(1);
  },
);

test("a caller that cancels while a session is being renewed does not wait for the renewal", async () => {
  const renewed = Promise.withResolvers<void>();
  using server = serveSessions(async (message, session) => {
    if (message.method === "initialize" && server.opened() === 2) await renewed.promise;
    return isCall(message) && session === "s2" ? unknownSession(message.id) : null;
  });
  await using set = await listed([http("a", server.url, { getStream: "off" })]);
  const controller = new AbortController();
  const ask = () => rejectionOf(set.ask("a", "t", {}, { controller }));
  const own = ask();
  await until(() => server.of("initialize").length === 3, "the renewal");
  const other = ask();
  const stays = set.ask("a", "t");
  controller.abort();
  for (const { code } of await Promise.all([own, other])) expect(code).toBe("cancelled");
  renewed.resolve();
  expect(textOf(await stays)).toBe("ok");
});

test("a caller that cancels while a ping checks whether the session is lost gets the refusal immediately", async () => {
  const pinged = Promise.withResolvers<void>();
  using server = serveSessions(async (message, session) => {
    if (message.method === "ping") await pinged.promise;
    return isCall(message) && session === "s2" ? refusal(message.id, -32600, "Session expired") : null;
  });
  await using set = await listed([http("a", server.url, { getStream: "off" })]);
  const controller = new AbortController();
  const call = set.ask("a", "t", {}, { controller });
  await until(() => server.of("ping").length === 1, "the ping");
  controller.abort();
  expect(await call).toMatchObject({ kind: "error", code: -32600 });
  pinged.resolve();
});
