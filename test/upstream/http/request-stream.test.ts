import { expect, test } from "bun:test";
import type { ClientAnswer } from "../../../src/core/inbound.ts";
import { rejectionOf } from "../../support/failure.ts";
import {
  event,
  events,
  isCall,
  type Message,
  openStream,
  refusal,
  reply,
  serve,
  serveSessions,
  text,
} from "../../support/mcp-server.ts";
import { until } from "../../support/until.ts";
import { http, listed, textOf, upstreams } from "../../support/upstream.ts";

const answer = (id: unknown): string => event({ jsonrpc: "2.0", id, result: text("ok") });

test.each([
  ["an answer to an unknown request", event({ jsonrpc: "2.0", id: 99, result: {} })],
  ["an unreadable answer to an unknown request", event({ jsonrpc: "2.0", id: 99, result: 1 })],
  [
    "progress of an unknown request",
    event({ jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: 99 } }),
  ],
  ["invalid JSON", "data: {\n\n"],
])("%s in the stream of a call does not end the call", async (_what, said) => {
  using server = serve((message) => (isCall(message) ? events(said, answer(message.id)) : null));
  await using set = upstreams([http("a", server.url)]);
  const emitted: string[] = [];
  const more = { token: "1", emit: (one: string) => void emitted.push(one) };
  expect(textOf(await set.ask("a", "t", {}, more))).toBe("ok");
  expect([emitted, set.status()[0]?.dropped]).toEqual([[], 1]);
});

test("a stream that the server leaves open after the answer is closed", async () => {
  const ended = Promise.withResolvers<void>();
  using server = serve((message, request) => {
    if (!isCall(message)) return null;
    request.signal.addEventListener("abort", () => ended.resolve());
    return openStream({ start: (stream) => stream.enqueue(answer(message.id)) });
  });
  await using set = upstreams([http("a", server.url)]);
  expect(textOf(await set.ask("a", "t"))).toBe("ok");
  await ended.promise;
});

/**
 * A server whose second call causes the loss of the first call's session, `s2`; the first call's stream breaks after
 * `said`.
 */
function forgetful(said: string, elsewhere: (session: string | null, request: Request, message: Message) => void) {
  return serveSessions((message, session, request) => {
    if (request.method === "GET" || message.method === undefined) {
      elsewhere(session, request, message);
      return new Response(null, { status: request.method === "GET" ? 503 : 202 });
    }
    if (!isCall(message)) return null;
    if (message.params?.["name"] === "first") return events(`id: 1-0\nretry: 100\ndata:\n\n${said}`);
    return session === "s2" ? refusal(message.id, -32600, "Session not found") : reply(message.id, text(`${session}`));
  });
}

test("the stream of a lost session is not resumed in another session, where the same event id means another event", async () => {
  const gets: string[] = [];
  using server = forgetful("", (session, { headers }) => gets.push(`${session} ${headers.get("last-event-id")}`));
  await using set = await listed([http("a", server.url, { getStream: "off" })]);
  const controller = new AbortController();
  const first = rejectionOf(set.ask("a", "first", {}, { controller }));
  await until(() => server.of("tools/call").length === 1, "the call");
  expect(textOf(await set.ask("a", "second"))).toBe("s3");
  gets.length = 0;
  await until(() => gets.length > 0, "another attempt");
  expect(gets).toEqual(["s2 1-0"]);
  controller.abort();
  expect((await first).code).toBe("cancelled");
});

test("a question of a lost session is not answered in another session, where the same id means another request", async () => {
  const answers: [session: string | null, id: unknown][] = [];
  const question = event({ jsonrpc: "2.0", id: 0, method: "roots/list" });
  using server = forgetful(question, (session, { method }, { id }) => method === "POST" && answers.push([session, id]));
  await using set = await listed([http("a", server.url, { getStream: "off" })]);
  const asked = Promise.withResolvers<void>();
  const renewed = Promise.withResolvers<void>();
  const input = async (): Promise<ClientAnswer> => {
    asked.resolve();
    await renewed.promise;
    return { kind: "result", text: '{"roots":[]}' };
  };
  const more = { session: "s", declares: { roots: {} }, input };
  const controller = new AbortController();
  const first = rejectionOf(set.ask("a", "first", {}, { ...more, controller }));
  await asked.promise;
  expect(textOf(await set.ask("a", "second", {}, more))).toBe("s3");
  renewed.resolve();
  await until(() => answers.length > 0, "the answer");
  expect(answers).toEqual([["s2", 0]]);
  controller.abort();
  expect((await first).code).toBe("cancelled");
});
