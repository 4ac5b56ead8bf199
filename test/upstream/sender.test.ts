import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { rejectionOf } from "../support/failure.ts";
import {
  discovers,
  event,
  events,
  greets,
  isCall,
  openStream,
  opens,
  refusal,
  reply,
  serve,
  text,
  told,
  unknownSession,
} from "../support/mcp-server.ts";
import { TempDir } from "../support/temp-dir.ts";
import { type AskOptions, fake, http, listed, textOf } from "../support/upstream.ts";
import { until } from "../support/until.ts";

/** A modern server that requires the parameter `region` of its tool in a header whose name can change. */
function serveMirrored(discovered: () => Promise<void> = async () => {}) {
  const wanted = { header: "Region" };
  const server = serve(async (message, request) => {
    if (message.method === "server/discover") {
      await discovered();
      return discovers(message.id);
    }
    if (message.method === "initialize") return refusal(message.id, -32601, "no", 404);
    const properties = { region: { type: "string", "x-mcp-header": wanted.header } };
    if (message.method === "tools/list")
      return reply(message.id, { tools: [{ name: "t", inputSchema: { type: "object", properties } }] });
    if (!isCall(message)) return null;
    const right = request.headers.get(`mcp-param-${wanted.header.toLowerCase()}`) === "eu";
    return right ? reply(message.id, text("ok")) : refusal(message.id, -32020, "header mismatch", 400);
  });
  return Object.assign(server, { wanted });
}

test("headers that the server rejects are rebuilt once, after listing its tools", async () => {
  using server = serveMirrored();
  await using set = await listed([http("a", server.url)]);
  const inputSchema = set.listings()[0]?.tools[0]?.inputSchema;
  expect(textOf(await set.ask("a", "t", { region: "eu" }, { inputSchema }))).toBe("ok");
  for (const header of ["Zone", "Area"]) {
    server.wanted.header = header;
    expect(textOf(await set.ask("a", "t", { region: "eu" }, { inputSchema }))).toBe("ok");
  }
  server.wanted.header = "Nowhere";
  expect(await set.ask("a", "t", { region: "us" }, { inputSchema })).toMatchObject({ kind: "error", code: -32020 });
  expect(server.of("tools/call").length).toBe(7);
});

test("an error about headers does not repeat a call that was sent without them", async () => {
  using at = new TempDir();
  const FAKE_LOG = at.path("log");
  await using set = await listed([fake("a", ["--era", "modern"], { env: { FAKE_LOG } })]);
  expect(await set.ask("a", "fail", { code: -32020 }, { era: "modern" })).toMatchObject({ code: -32020 });
  expect(readFileSync(FAKE_LOG, "utf8").split("tools/call")).toHaveLength(2);
});

test("a call that has reported progress is not repeated when its headers are rejected", async () => {
  using server = serve((message) => {
    const { id, method, params } = message;
    if (method === "server/discover") return discovers(id);
    if (!isCall(message)) return null;
    const { progressToken } = (params?.["_meta"] ?? {}) as { progressToken?: unknown };
    const error = { code: -32020, message: "header mismatch" };
    const said = told("notifications/progress", { progressToken, progress: 1 });
    return events(said, event({ jsonrpc: "2.0", id, error }));
  });
  await using set = await listed([http("a", server.url)]);
  const emit = (): void => {};
  expect(await set.ask("a", "t", {}, { era: "modern", token: "1", emit })).toMatchObject({ code: -32020 });
  expect(server.of("tools/call")).toHaveLength(1);
});

test("calls whose headers are rejected during a health check share one listing after it", async () => {
  let checked = Promise.resolve();
  using server = serveMirrored(() => checked);
  const options = { ...http("a", server.url), healthCheck: 200 };
  await using set = await listed([options]);
  // A check may take as long as the interval between two; only this one is to come soon and take long.
  options.healthCheck = 10_000;
  const inputSchema = set.listings()[0]?.tools[0]?.inputSchema;
  const { promise, resolve } = Promise.withResolvers<void>();
  checked = promise;
  const before = server.of("server/discover").length;
  await until(() => server.of("server/discover").length > before, "a health check");
  server.wanted.header = "Zone";
  const calls = Array.from({ length: 3 }, () => set.ask("a", "t", { region: "eu" }, { inputSchema }));
  await until(() => server.of("tools/call").length === 3, "all of them");
  // Once a later request has been answered, so have they.
  await set.ask("a", "p", {}, { request: { method: "prompts/get", edits: {} } });
  resolve();
  expect((await Promise.all(calls)).map(textOf)).toEqual(["ok", "ok", "ok"]);
  expect(server.of("tools/list").length).toBe(2);
});

test("the log level of a legacy server is set once for all calls that want no more, and only if it supports logging", async () => {
  const serveLogging = (capabilities: object) =>
    serve(({ method, id }) => (method === "initialize" ? greets(id, capabilities) : null));
  using having = serveLogging({ logging: {} });
  using lacking = serveLogging({});
  await using set = await listed([http("a", having.url), http("b", lacking.url)]);
  const emit = (): void => {};
  for (const logLevel of ["info", "error", "debug"] as const)
    for (const server of ["a", "b"]) await set.ask(server, "t", {}, { session: "s", logLevel, emit });
  const levels = having.of("logging/setLevel").map(({ message }) => message.params?.["level"]);
  expect([levels, lacking.of("logging/setLevel")]).toEqual([["info", "debug"], []]);
});

test("FIELD T45: a call whose session was lost also gets its log messages from the new session", async () => {
  const levels = new Map<string | null, unknown>();
  let lost = "";
  const ran: unknown[] = [];
  using server = serve((message, request) => {
    const { method, id, params } = message;
    if (method === "initialize") return opens(id, `s${server.of(method).length}`, { logging: {} });
    const session = request.headers.get("mcp-session-id");
    if (session === lost) return unknownSession(id);
    if (method === "logging/setLevel") levels.set(session, params?.["level"]);
    if (isCall(message)) ran.push([session, levels.get(session)]);
    return method === "logging/setLevel" ? reply(id, {}) : null;
  });
  await using set = await listed([http("a", server.url, { getStream: "off" })]);
  const ask = () => set.ask("a", "t", {}, { session: "s", logLevel: "debug", emit: () => {} });
  await ask();
  lost = "s2";
  expect(textOf(await ask())).toBe("ok");
  expect(ran).toEqual([
    ["s2", "debug"],
    ["s3", "debug"],
  ]);
});

/** A legacy server with log levels: `setLevel` answers the nth request to set one; `before` sees each request first. */
function serveLogging(
  setLevel: (id: unknown, nth: number) => Promise<Response>,
  before: (method: string | undefined) => Promise<void> | void = () => {},
) {
  let asked = 0;
  return serve(async ({ method, id }) => {
    await before(method);
    if (method === "logging/setLevel") return setLevel(id, ++asked);
    const capabilities = { logging: {} };
    return method === "initialize" ? greets(id, capabilities) : null;
  });
}
const wantsLogs: AskOptions = { session: "s", logLevel: "info", emit: () => {} };

test("a cancelled call stops waiting for its log level", async () => {
  using server = serveLogging(() => new Promise(() => {}));
  await using set = await listed([http("a", server.url)]);
  const controller = new AbortController();
  const cancelled = set.ask("a", "t", {}, { ...wantsLogs, controller });
  await until(() => server.of("logging/setLevel").length === 1, "the level");
  controller.abort();
  expect(await rejectionOf(cancelled)).toMatchObject({ code: "cancelled" });
  expect(server.of("tools/call")).toEqual([]);
});

test("a server that does not answer the log level is asked again by the next call, which does not wait for it", async () => {
  const calls = { done: 0, second: Promise.withResolvers<void>() };
  using server = serveLogging(
    (id, asked) => {
      if (asked === 1) return new Promise(() => {});
      // The call would time out if it waited for this.
      return calls.second.promise.then(() => reply(id, {}));
    },
    (method) => {
      if (method === "tools/call" && ++calls.done === 2) calls.second.resolve();
    },
  );
  await using set = await listed([http("a", server.url, { timeout: "1s" })]);
  for (let call = 0; call < 3; call++) expect(textOf(await set.ask("a", "t", {}, wantsLogs))).toBe("ok");
  expect(server.of("logging/setLevel")).toHaveLength(2);
});

test("a server that starts slowly and does not answer the log level leaves time for the call", async () => {
  let starts = 0;
  using server = serveLogging(
    () => new Promise(() => {}),
    async (method) => {
      if (method === "initialize" && starts++ > 0) await Bun.sleep(1_200);
    },
  );
  await using set = await listed([http("a", server.url, { timeout: "2s" })]);
  expect(textOf(await set.ask("a", "t", {}, wantsLogs))).toBe("ok");
});

test("FIELD T66: each sign of life gives a call that waited long for its server's start the whole timeout again", async () => {
  let starts = 0;
  using server = serve(async ({ id, method, params }) => {
    if (method === "initialize" && starts++ > 0) await Bun.sleep(1_200);
    if (method !== "tools/call") return null;
    const { progressToken } = (params?.["_meta"] ?? {}) as { progressToken?: unknown };
    return openStream({
      async start(stream) {
        stream.enqueue(told("notifications/progress", { progressToken, progress: 1 }));
        // Longer than the remaining time of the call.
        await Bun.sleep(1_200);
        stream.enqueue(event({ jsonrpc: "2.0", id, result: text("ok") }));
        stream.close();
      },
    });
  });
  await using set = await listed([http("a", server.url, { timeout: "2s" })]);
  expect(textOf(await set.ask("a", "t", {}, { token: "1", emit: () => {} }))).toBe("ok");
});
