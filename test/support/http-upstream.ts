type Message = { id?: unknown; method?: string; params?: Record<string, unknown> };

/** A legacy MCP server over HTTP inside the test, which keeps the headers of every request. */
export function httpUpstream() {
  const seen: { method: string; headers: Headers }[] = [];
  const results: Record<string, (message: Message) => unknown> = {
    initialize: ({ params }) => ({
      protocolVersion: params?.["protocolVersion"],
      capabilities: { tools: {} },
      serverInfo: { name: "in-test", version: "1" },
    }),
    ping: () => ({}),
    "tools/list": () => ({ tools: [{ name: "echo", inputSchema: { type: "object" } }] }),
    "tools/call": ({ params }) => ({ content: [{ type: "text", text: JSON.stringify(params?.["arguments"]) }] }),
  };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(req) {
      if (req.method !== "POST") return new Response(null, { status: 405 });
      const message = (await req.json()) as Message;
      seen.push({ method: message.method ?? "", headers: req.headers });
      if (message.id === undefined) return new Response(null, { status: 202 });
      const answer = results[message.method ?? ""];
      const body = answer
        ? { jsonrpc: "2.0", id: message.id, result: answer(message) }
        : { jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "unknown" } };
      return Response.json(body);
    },
  });
  const dispose = (): Promise<void> => server.stop(true);
  return { url: server.url.href, seen, [Symbol.asyncDispose]: dispose };
}
