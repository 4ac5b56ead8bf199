// The upstream of a measurement: just enough MCP to need a gateway, as cheap as Bun allows.

type Message = { readonly id?: string | number; readonly method?: string; readonly params?: Record<string, unknown> };

const tool = {
  name: "echo",
  description: "Answers at once.",
  inputSchema: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
};

const steps = 1000;

/** The number of servers, each a path below /many, and of the tools of each. */
export const many = { servers: 50, tools: 200 } as const;

const manyTools = JSON.stringify({
  tools: Array.from({ length: many.tools }, (_, index) => ({ ...tool, name: `echo_${index}` })),
});

/** Returns the answer of one of many servers; null for a notification. */
export function answerMany(text: string): string | null {
  const { id, method } = JSON.parse(text) as Message;
  return method === "tools/list" ? `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${manyTools}}` : answer(text);
}

/** Returns the events of a call of `echo_steps`, its notifications and its result; null for any other message. */
export function stream(text: string): string | null {
  if (!text.includes('"echo_steps"')) return null;
  const { id, params = {} } = JSON.parse(text) as Message;
  const { progressToken } = (params["_meta"] ?? {}) as { progressToken?: unknown };
  const token = JSON.stringify(progressToken);
  let events = "";
  for (let step = 1; step <= steps; step++) {
    const progress = `{"progressToken":${token},"progress":${step},"total":${steps}}`;
    events += `event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":${progress}}\n\n`;
  }
  return `${events}event: message\ndata: {"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${result}}\n\n`;
}

const identity = { name: "bench", version: "1" };
const result = JSON.stringify({ content: [{ type: "text", text: "pong" }] });

const answers: Readonly<Record<string, (params: Record<string, unknown>) => string>> = {
  "tools/call": () => result,
  "tools/list": () => JSON.stringify({ tools: [tool, { ...tool, name: "echo_steps" }] }),
  ping: () => "{}",
  initialize: ({ protocolVersion }) =>
    JSON.stringify({ protocolVersion, capabilities: { tools: {} }, serverInfo: identity }),
};

/** Returns the answer to one message; null for a notification. Speaks only the legacy era, which `auto` detects. */
export function answer(text: string): string | null {
  const { id, method = "", params = {} } = JSON.parse(text) as Message;
  if (id === undefined) return null;
  const body = answers[method]?.(params);
  if (body !== undefined) return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${body}}`;
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":{"code":-32601,"message":"unknown method"}}`;
}
