import { expect, test } from "bun:test";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import type { SessionQuestion } from "../../../src/core/upstream.ts";
import { rejectionOf } from "../../support/failure.ts";
import {
  event,
  greets,
  opens,
  openStream,
  refusal,
  reply,
  serve,
  serveSessions,
  type Stream,
} from "../../support/mcp-server.ts";
import {
  type AskOptions,
  callTo,
  fake,
  http,
  jsonOf,
  listed,
  resourceRoute,
  serveFake,
  textOf,
  upstreams,
} from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

const own = { session: "s1", declares: { roots: { listChanged: true } } };
const rootsOf = async ({ session }: SessionQuestion): Promise<ClientAnswer> => ({
  kind: "result",
  text: `{"roots":[{"uri":"file:///${session}"}]}`,
});

const transports: [over: string, args: string[]][] = [
  ["a child", []],
  ["HTTP", ["--http", "--sse"]],
  ["HTTP+SSE", ["--pair"]],
  ["a WebSocket", ["--websocket"]],
];

test.each(transports)(
  "the first call runs once the server has the roots that it asked for: %s",
  async (_over, args) => {
    const first = ["--mode", "first-roots", ...args];
    const transport = args.includes("--pair") ? { transport: "sse" } : {};
    await using served = args.length > 0 ? await serveFake(first, { id: "a", ...transport }) : null;
    const options = served?.options ?? fake("a", first);
    await using set = upstreams([options], { askSession: rootsOf });
    for (const session of ["s1", "s2"]) {
      const seen = jsonOf(await set.ask("a", "seen", {}, { ...own, session }));
      expect(seen.roots).toMatchObject({ result: { roots: [{ uri: `file:///${session}` }] } });
    }
  },
);

test("the first call waits for a client that is slow to answer", async () => {
  const slow = (question: SessionQuestion): Promise<ClientAnswer> =>
    new Promise((resolve) => setTimeout(() => resolve(rootsOf(question)), 250));
  await using set = upstreams([fake("a", ["--mode", "first-roots"])], { askSession: slow });
  const seen = jsonOf(await set.ask("a", "seen", {}, own));
  expect(seen.roots).toMatchObject({ result: { roots: [{ uri: "file:///s1" }] } });
});

test("a server that is still starting is notified that the roots changed after it read them", async () => {
  const askSession = async (question: SessionQuestion): Promise<ClientAnswer> => {
    setImmediate(() => set.notify(callTo("x", {}, own), "notifications/roots/list_changed"));
    return rootsOf(question);
  };
  await using set = upstreams([fake("a", ["--mode", "first-roots"])], { askSession });
  const seen = jsonOf(await set.ask("a", "seen", {}, own));
  expect(seen.notified).toContain("notifications/roots/list_changed");
});

/** Clients that do not listen outside of their calls. */
const unheard: [client: string, more: AskOptions][] = [
  ["of 2026-07-28", { era: "modern", declares: own.declares }],
  ["without a GET stream", own],
];

test.each(transports.flatMap(([over, args]) => unheard.map(([client, more]) => [over, client, args, more] as const)))(
  "the call that starts a server answers its question for the roots: %s, client %s",
  async (_over, _client, args, more) => {
    const first = ["--mode", "first-roots", ...args];
    const transport = args.includes("--pair") ? { transport: "sse" } : {};
    await using served = args.length > 0 ? await serveFake(first, { id: "a", ...transport }) : null;
    const options = served?.options ?? fake("a", first);
    await using set = upstreams([options], { askSession: rootsOf, listens: false });
    const asked: string[] = [];
    const input =
      (caller: string) =>
      async ({ method }: InputRequest): Promise<ClientAnswer> => {
        asked.push(`${caller} ${method}`);
        return { kind: "result", text: '{"roots":[{"uri":"file:///mine"}]}' };
      };
    const seen = jsonOf(await set.ask("a", "seen", {}, { ...more, input: input("first") }));
    expect(seen.roots).toMatchObject({ result: { roots: [{ uri: "file:///mine" }] } });
    await set.ask("a", "seen", {}, { ...more, input: input("second") });
    expect(asked).toEqual(["first roots/list"]);
  },
);

test.each(unheard)(
  "the first call on an instance that a subscription started answers the question for the roots: client %s",
  async (_client, more) => {
    await using set = upstreams([fake("a", ["--mode", "first-roots", "--rich"])], {
      askSession: rootsOf,
      listens: false,
    });
    let missed = 0;
    await set.subscribe(callTo("x", {}, more), resourceRoute("a", "test://a"), () => void missed++);
    const input = async (): Promise<ClientAnswer> => ({ kind: "result", text: '{"roots":[{"uri":"file:///mine"}]}' });
    const ask = async () => jsonOf(await set.ask("a", "seen", {}, { ...more, input }));
    const { roots } = await ask();
    expect(roots).toMatchObject({ result: { roots: [{ uri: "file:///mine" }] } });
    await until(() => missed > 0, "the word that updates were missed");
    // The instance stays the same from here on.
    expect(await ask()).toMatchObject({ roots, subscribed: ["+test://a"] });
  },
);

test("a server that asks for nothing is not restarted for the first call after a subscription", async () => {
  await using set = await listed([fake("a", ["--rich"])]);
  let missed = 0;
  await set.subscribe(callTo("x", {}, own), resourceRoute("a", "test://a"), () => void missed++);
  const input = async (): Promise<ClientAnswer> => ({ kind: "result", text: '{"roots":[]}' });
  const { subscribed } = jsonOf(await set.ask("a", "seen", {}, { ...own, input }));
  expect([subscribed, missed, set.status()[0]?.instances]).toEqual([["+test://a"], 0, 1]);
});

/** An HTTP server that asks the questions of the test in all of its sessions. */
function serveAsking() {
  const streams: Stream[] = [];
  const server = serveSessions((_message, _session, request) => {
    if (request.method !== "GET") return null;
    return openStream({
      start(stream) {
        streams.push(stream);
        stream.enqueue(": open\n\n");
      },
    });
  });
  const answers = () => server.seen.filter(({ message }) => message.id === "r");
  const ask = async (method: string): Promise<void> => {
    await until(() => streams.length === 2, "the streams of the gateway's own session and the caller's");
    const before = answers().length;
    for (const stream of streams) stream.enqueue(event({ jsonrpc: "2.0", id: "r", method, params: {} }));
    await until(() => answers().length === before + 2, "the answers");
  };
  return Object.assign(server, { ask });
}

const noReason: [what: string, method: string, listening: boolean[]][] = [
  ["received the question after it began to listen", "roots/list", [true]],
  ["received the question when it was repeated", "roots/list", [false, true]],
  ["was asked for something else", "sampling/createMessage", [false]],
];
test.each(noReason)("an instance is not restarted if its client %s", async (_what, method, listening) => {
  using server = serveAsking();
  let listens = false;
  const options = { askSession: rootsOf, listens: () => listens };
  await using set = await listed([http("a", server.url, { protocol: "legacy" })], options);
  await set.subscribe(callTo("x", {}, own), resourceRoute("a", "test://a"), () => {});
  for (listens of listening) await server.ask(method);
  const input = async (): Promise<ClientAnswer> => ({ kind: "result", text: '{"roots":[]}' });
  await set.ask("a", "t", {}, { ...own, input });
  expect([server.opened(), set.status()[0]?.instances]).toEqual([2, 1]);
});

const late: [what: string, mode: string][] = [
  ["does not answer a ping", "no-ping"],
  ["gets no answer from the client", "first-roots"],
];

test.each(late)("the first call waits only for a limited time if the server %s", async (_what, mode) => {
  await using set = upstreams([fake("a", ["--mode", mode], { timeout: "1s" })], {
    askSession: () => new Promise(() => {}),
  });
  expect(jsonOf(await set.ask("a", "seen", {}, own)).roots).toBeUndefined();
});

test("the first call does not wait for a client that has no roots or cannot be asked", async () => {
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {} });
    return method === "tools/call" ? reply(id, { content: [{ type: "text", text: "ran" }] }) : null;
  });
  const options = http("a", server.url, { protocol: "legacy" });
  const run = async (listens: boolean, declares: Record<string, unknown>): Promise<void> => {
    await using set = upstreams([options], { askSession: rootsOf, listens });
    expect(textOf(await set.ask("a", "echo", {}, { session: "s1", declares }))).toBe("ran");
  };
  await run(false, own.declares);
  await run(true, { sampling: {} });
  expect(server.of("ping")).toEqual([]);
  await run(true, own.declares);
  expect(server.of("ping").length).toBe(1);
});

/**
 * An HTTP server that asks for the roots in each session; its calls return what it knows about the session. `status`
 * answers requests in an unknown session.
 */
function serveRooted(status = 404) {
  let losesAll = false;
  const held = new Map<string, Promise<void>>();
  const sessions = new Map<string, { stream: Stream | null; roots: unknown }>();
  const server = serve(async ({ id, method, result }, request) => {
    if (method === "server/discover") return null;
    await held.get(method ?? request.method);
    if (method === "initialize") {
      const session = `session-${crypto.randomUUID()}`;
      sessions.set(session, { stream: null, roots: null });
      return opens(id, session);
    }
    const name = request.headers.get("mcp-session-id") ?? "";
    const session = sessions.get(name);
    if (request.method === "DELETE") sessions.delete(name);
    if (!session || (losesAll && (method === "ping" || method === "tools/call")))
      return refusal(id ?? null, -32001, "Session not found", status);
    if (request.method === "GET")
      return openStream({
        start(stream) {
          session.stream = stream;
          stream.enqueue(`retry: 1\n\n${event({ jsonrpc: "2.0", id: "r", method: "roots/list" })}`);
        },
      });
    if (id === "r") session.roots = result ?? null;
    return method === "tools/call" ? reply(id, { content: [{ type: "text", text: JSON.stringify(session) }] }) : null;
  });
  /** Forgets all sessions; `silently`: their streams stay open, so that only the next request finds out. */
  const forget = (silently: boolean): void => {
    const streams = [...sessions.values()].map(({ stream }) => stream);
    sessions.clear();
    if (!silently) for (const stream of streams) stream?.close();
  };
  /** Delays requests of this method until the returned function is called. */
  const hold = (method: string): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    held.set(method, promise);
    return resolve;
  };
  const answers = () => server.seen.filter(({ message }) => message.id === "r");
  return Object.assign(server, { forget, sessions, hold, answers, loseAll: () => (losesAll = true) });
}

const input = async (): Promise<ClientAnswer> => ({ kind: "result", text: '{"roots":[{"uri":"file:///s1"}]}' });

const losses = [...unheard, ["that listens", own] as [string, AskOptions]].flatMap(([client, more]) =>
  ([true, false] as const).map((silently) => [client, silently, more] as const),
);
test.each(losses)(
  "R111 FIELD T45: in a new session the server has the roots again before the next call: client %s, unnoticed: %p",
  async (client, silently, more) => {
    using server = serveRooted();
    const options = http("a", server.url, { protocol: "legacy" });
    const listens = client === "that listens";
    const nobody = (): Promise<never> => Promise.reject(new Error("nobody listens"));
    await using set = upstreams([options], { askSession: listens ? rootsOf : nobody, listens });
    await set.settled();
    const ask = async (): Promise<unknown> => jsonOf(await set.ask("a", "t", {}, { ...more, input })).roots;
    const roots = { roots: [{ uri: "file:///s1" }] };
    expect(await ask()).toEqual(roots);
    server.forget(silently);
    // The gateway's own session and the caller's.
    if (!silently) await until(() => server.of("initialize").length >= 4, "new sessions");
    expect(await ask()).toEqual(roots);
    expect(await ask()).toEqual(roots);
  },
);

test("R111 FIELD T45: no call runs in a new session before a listening client has sent its roots", async () => {
  using server = serveRooted();
  const asked = Promise.withResolvers<void>();
  let times = 0;
  const askSession = async (question: SessionQuestion): Promise<ClientAnswer> => {
    if (++times === 2) {
      asked.resolve();
      // However long this takes, the call that comes in the meantime is not sent.
      await until(() => server.of("tools/call").length > 1, "a call too early", 200).catch(() => {});
    }
    return rootsOf(question);
  };
  await using set = await listed([http("a", server.url, { protocol: "legacy" })], { askSession });
  const ask = async (): Promise<unknown> => jsonOf(await set.ask("a", "t", {}, own)).roots;
  const roots = await ask();
  server.forget(false);
  await asked.promise;
  expect(await ask()).toEqual(roots);
});

test("R111 FIELD T45: an instance with a subscription is kept and gets a new session", async () => {
  using server = serveRooted();
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  let missed = 0;
  const end = await set.subscribe(callTo("x", {}, own), resourceRoute("a", "file:///r"), () => void missed++);
  server.forget(false);
  await until(() => missed > 0, "the word that updates were missed");
  await set.ask("a", "t", {}, own);
  // The gateway's own session and the caller's, twice each.
  expect([server.of("initialize").length, server.sessions.size]).toEqual([4, 2]);
  end();
});

test("R111 FIELD T45: no call runs without the roots in a new session that opened while no client was listening", async () => {
  using server = serveRooted();
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  const ask = async () => jsonOf(await set.ask("a", "t", {}, { ...own, input })).roots;
  const roots = await ask();
  expect(roots).toMatchObject({ roots: [{}] });
  let missed = 0;
  await set.subscribe(callTo("x", {}, own), resourceRoute("a", "file:///r"), () => void missed++);
  server.forget(false);
  await until(() => missed > 0, "the word that updates were missed");
  expect(await ask()).toEqual(roots);
  expect(await ask()).toEqual(roots);
});

test("R111 FIELD T45: the next call has the roots after one that was not repeated because it may have run in the lost session", async () => {
  // With this status, the answer could come from a tool.
  using server = serveRooted(500);
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  const ask = () => set.ask("a", "t", {}, { ...own, input });
  const { roots } = jsonOf(await ask());
  expect(roots).toMatchObject({ roots: [{}] });
  server.forget(true);
  expect((await ask()).kind).toBe("error");
  expect(jsonOf(await ask()).roots).toEqual(roots);
});

test("R111 FIELD T45: a server that loses every session is not asked forever for a listening client", async () => {
  using server = serveRooted();
  await using set = await listed([http("a", server.url, { protocol: "legacy" })], { askSession: rootsOf });
  const ask = () => set.ask("a", "t", {}, own);
  await ask();
  server.loseAll();
  const opened = async (): Promise<number> => {
    const before = server.of("initialize").length;
    expect((await ask()).kind).toBe("error");
    return server.of("initialize").length - before;
  };
  await opened();
  for (let times = 0; times < 2; times++) expect(await opened()).toBeLessThan(10);
});

const over = async (): Promise<ClientAnswer> => ({ kind: "error", text: '{"code":-32603,"message":"It is over."}' });

test.each([
  ["while it waits", true],
  ["once it has ended", false],
] as const)(
  "the roots of a new session do not depend on the call that found the old one lost: the next comes %s",
  async (_when, meanwhile) => {
    using server = serveRooted();
    await using set = await listed([http("a", server.url, { protocol: "legacy" })], { listens: false });
    const ask = async (): Promise<unknown> => jsonOf(await set.ask("a", "t", {}, { ...own, input })).roots;
    const roots = await ask();
    server.forget(true);
    const open = server.hold("GET");
    const before = { gets: server.gets().length, pings: server.of("ping").length, answers: server.answers().length };
    const controller = new AbortController();
    const first = rejectionOf(set.ask("a", "t", {}, { ...own, controller, input: over }));
    await until(() => server.gets().length > before.gets, "the stream of the new session");
    const second = meanwhile ? ask() : null;
    controller.abort();
    await first;
    open();
    if (!second) {
      await until(() => server.answers().length > before.answers, "the answer to its question");
      await until(() => server.of("ping").length > before.pings, "the end of the wait for it");
    }
    expect(await (second ?? ask())).toEqual(roots);
  },
);

test.each([
  ["while it starts", true],
  ["once it has asked", false],
] as const)(
  "a call that comes %s has the roots, although the call that started the server has ended",
  async (_when, meanwhile) => {
    using server = serveRooted();
    await using set = await listed([http("a", server.url, { protocol: "legacy" })], { listens: false });
    const begin = server.hold("initialize");
    const controller = new AbortController();
    const first = rejectionOf(set.ask("a", "t", {}, { ...own, controller, input: over }));
    await until(() => server.of("initialize").length === 2, "the handshake");
    controller.abort();
    await first;
    const ask = async (): Promise<unknown> => jsonOf(await set.ask("a", "t", {}, { ...own, input })).roots;
    const second = meanwhile ? ask() : null;
    begin();
    if (!second) await until(() => server.answers().length > 0, "the answer to its question");
    expect(await (second ?? ask())).toEqual({ roots: [{ uri: "file:///s1" }] });
  },
);
