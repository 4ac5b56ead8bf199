import { expect, test } from "bun:test";
import { rejectionOf } from "../../support/failure.ts";
import { isCall, reply, serve } from "../../support/mcp-server.ts";
import { http, upstreams } from "../../support/upstream.ts";

test("T13: a compressed answer is not read, for a kilobyte of it can be a gigabyte", async () => {
  for (const type of ["application/json", "text/event-stream"]) {
    const answer = (id: unknown) => `data: ${JSON.stringify({ jsonrpc: "2.0", id, result: {} })}\n\n`;
    const headers = { "content-type": type, "content-encoding": "gzip" };
    using server = serve((message) =>
      isCall(message) ? new Response(Bun.gzipSync(answer(message.id)), { headers }) : null,
    );
    await using set = upstreams([http("a", server.url)]);
    await set.settled();
    const failure = await rejectionOf(set.ask("a", "t"));
    expect(failure.code).toBe("upstream-protocol");
    expect(failure.message).toContain("compressed");
  }
});

test("an answer whose Content-Encoding names a charset is read", async () => {
  const headers = { "content-encoding": "utf-8" };
  using server = serve((message) => (isCall(message) ? reply(message.id, { content: [] }, headers) : null));
  await using set = upstreams([http("a", server.url)]);
  await set.settled();
  expect(JSON.parse((await set.ask("a", "t")).text)).toEqual({ content: [] });
});
