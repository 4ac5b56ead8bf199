// The upstream's side of a measurement: just enough MCP to be governed, as cheap as Bun allows.

type Message = { readonly id?: string | number; readonly method?: string; readonly params?: Record<string, unknown> };

const tool = {
  name: "echo",
  description: "Answers at once.",
  inputSchema: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
};

const identity = { name: "bench", version: "1" };
const result = JSON.stringify({ content: [{ type: "text", text: "pong" }] });

const answers: Readonly<Record<string, (params: Record<string, unknown>) => string>> = {
  "tools/call": () => result,
  "tools/list": () => JSON.stringify({ tools: [tool] }),
  ping: () => "{}",
  initialize: ({ protocolVersion }) =>
    JSON.stringify({ protocolVersion, capabilities: { tools: {} }, serverInfo: identity }),
};

/** The answer to one message, null to a notification. It speaks the legacy era only, to which `auto` settles. */
export function answer(text: string): string | null {
  const { id, method = "", params = {} } = JSON.parse(text) as Message;
  if (id === undefined) return null;
  const body = answers[method]?.(params);
  if (body !== undefined) return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${body}}`;
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":{"code":-32601,"message":"unknown method"}}`;
}
