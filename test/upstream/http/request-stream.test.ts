import { expect, test } from "bun:test";
import { event, events, isCall, openStream, serve, text } from "../../support/mcp-server.ts";
import { http, textOf, upstreams } from "../../support/upstream.ts";

const answer = (id: unknown): string => event({ jsonrpc: "2.0", id, result: text("ok") });

test.each([
  ["an answer to nothing", event({ jsonrpc: "2.0", id: 99, result: {} })],
  ["an answer to nothing that cannot be read", event({ jsonrpc: "2.0", id: 99, result: 1 })],
  ["progress of nothing", event({ jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: 99 } })],
  ["no JSON", "data: {\n\n"],
])("%s in the stream of a call does not end the call", async (_what, said) => {
  using server = serve((message) => (isCall(message) ? events(said, answer(message.id)) : null));
  await using set = upstreams([http("a", server.url)]);
  const emitted: string[] = [];
  const more = { token: "1", emit: (one: string) => void emitted.push(one) };
  expect(textOf(await set.ask("a", "t", {}, more))).toBe("ok");
  expect([emitted, set.status()[0]?.dropped]).toEqual([[], 1]);
});

test("a stream that its server leaves open after the answer is ended", async () => {
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
