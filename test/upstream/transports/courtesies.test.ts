import { expect, test } from "bun:test";
import { failureOf } from "../../suites/transport.ts";
import { isCall, serve } from "../../support/mcp-server.ts";
import { http, principal, toolCall, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

// Messages that need no answer, to an HTTP server that takes its time to accept them.

const rootsChanged = "notifications/roots/list_changed";
const cancelled = "notifications/cancelled";

/** A server that takes none of these notifications before `take` is called. */
function reluctant(method: string, hangs = false) {
  const taken = Promise.withResolvers<void>();
  const server = serve(async (message) => {
    if (message.method === method) await taken.promise;
    if (isCall(message) && hangs) await new Promise(() => {});
    return null;
  });
  return { server, take: taken.resolve };
}

test("T12: of roots that change again and again one notification is under way, and one follows it", async () => {
  const { server, take } = reluctant(rootsChanged);
  using _ = server;
  await using set = upstreams([http("a", server.url)]);
  const own = { session: "s", declares: { roots: { listChanged: true } } };
  await set.ask("a", "t", {}, own);
  for (let i = 0; i < 100; i++) set.tell(toolCall("x", {}, own), principal("alice"), rootsChanged);
  await set.ask("a", "t", {}, own);
  expect(server.of(rootsChanged)).toHaveLength(1);
  take();
  await until(() => server.of(rootsChanged).length === 2, "the second one");
  await set.ask("a", "t", {}, own);
  expect(server.of(rootsChanged)).toHaveLength(2);
  expect(set.status()[0]?.dropped).toBe(0);
});

test("T12: a server that takes no word of cancelled calls gets no more than 64 at once; the rest is counted", async () => {
  const { server, take } = reluctant(cancelled, true);
  using _ = server;
  await using set = upstreams([http("a", server.url)]);
  await set.settled();
  const controller = new AbortController();
  const calls = Array.from({ length: 100 }, () => failureOf(set.ask("a", "t", {}, { controller })));
  await until(() => server.of("tools/call").length === 100, "all calls");
  controller.abort();
  for (const { code } of await Promise.all(calls)) expect(code).toBe("cancelled");
  await until(() => server.of(cancelled).length === 64, "the first of them");
  expect(set.status()[0]?.dropped).toBe(36);
  take();
  const one = new AbortController();
  const last = failureOf(set.ask("a", "t", {}, { controller: one }));
  await until(() => server.of("tools/call").length === 101, "one more call");
  one.abort();
  await last;
  await until(() => server.of(cancelled).length === 65, "a word of that one");
});
