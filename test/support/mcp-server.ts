import { subscriptionIdKey } from "../../src/mcp/meta.ts";

export type Message = {
  id?: unknown;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: unknown;
};
export type Seen = { method: string; verb: string; headers: Headers; message: Message };
export type Answer = (message: Message, request: Request) => Response | Promise<Response | null> | null;

export const reply = (id: unknown, result: unknown, headers: Record<string, string> = {}): Response =>
  Response.json({ jsonrpc: "2.0", id, result }, { headers });
export const text = (value: string): Record<string, unknown> => ({ content: [{ type: "text", text: value }] });
export const refusal = (id: unknown, code: number, message: string, status = 200, data?: unknown): Response =>
  Response.json({ jsonrpc: "2.0", id, error: { code, message, data } }, { status });
/** Returns the answer to `initialize`. */
export const greets = (id: unknown, capabilities: unknown = {}, headers: Record<string, string> = {}): Response =>
  reply(id, { protocolVersion: "2025-11-25", capabilities }, headers);
/** Returns an answer to `initialize` that opens this session. */
export const opens = (id: unknown, session: string, capabilities: unknown = {}): Response =>
  greets(id, capabilities, { "mcp-session-id": session });
/** Returns the answer to a message in a session that the server does not know. */
export const unknownSession = (id: unknown): Response => refusal(id, -32001, "Session not found", 404);
/** Returns the answer to `server/discover`. */
export const discovers = (id: unknown, capabilities: unknown = {}): Response =>
  reply(id, { supportedVersions: ["2026-07-28"], capabilities });
export const isCall = (message: Message): boolean => message.method === "tools/call";

const eventStream = { headers: { "content-type": "text/event-stream" } };
/** Returns a stream that ends after these events. */
export const events = (...parts: string[]): Response => new Response(parts.join(""), eventStream);
export const event = (message: unknown): string => `data: ${JSON.stringify(message)}\n\n`;
/** Returns a notification as an event. */
export const told = (method: string, params: unknown): string => event({ jsonrpc: "2.0", method, params });

/** Writes to an event stream that stays open. */
export type Stream = ReadableStreamDefaultController<string>;
type Fill = (stream: Stream) => void | Promise<void>;
/** Returns an event stream that stays open, filled when it starts or whenever it is read. */
export const openStream = (source: { start: Fill } | { pull: Fill }): Response =>
  new Response(new ReadableStream<string>(source), eventStream);
/** Returns the answer to a listening request for these notifications; `keep` gets the stream for later events. */
export const listening = (id: unknown, notifications: unknown, keep: (stream: Stream) => void = () => {}): Response =>
  openStream({
    start(stream) {
      keep(stream);
      const _meta = { [subscriptionIdKey]: id };
      stream.enqueue(told("notifications/subscriptions/acknowledged", { _meta, notifications }));
    },
  });

/** Starts a legacy server that answers the handshake and lists itself, and everything else with `answer`. */
export function serve(answer: Answer) {
  const seen: Seen[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      const body = await request.text();
      const message = (body === "" ? {} : JSON.parse(body)) as Message;
      seen.push({ method: message.method ?? "", verb: request.method, headers: request.headers, message });
      const own = await answer(message, request);
      if (own) return own;
      if (request.method === "GET") return new Response(null, { status: 405 });
      if (message.method === "server/discover") return refusal(message.id, -32601, "unknown method");
      if (message.method === "initialize") return greets(message.id);
      if (message.method === "tools/list") return reply(message.id, { tools: [] });
      if (message.method === "ping") return reply(message.id, {});
      if (message.id === undefined) return new Response(null, { status: 202 });
      return reply(message.id, text("ok"));
    },
  });
  const of = (method: string): Seen[] => seen.filter((one) => one.method === method);
  const gets = (): Seen[] => seen.filter(({ verb }) => verb === "GET");
  return { url: server.url.href, seen, of, gets, [Symbol.dispose]: () => void server.stop(true) };
}

/**
 * Starts such a server where each handshake that the test does not answer opens a session: `s1` is the gateway's own,
 * `s2` the first caller's.
 */
export function serveSessions(
  answer: (message: Message, session: string | null, request: Request) => ReturnType<Answer> = () => null,
) {
  let opened = 0;
  const server = serve(async (message, request) => {
    const own = await answer(message, request.headers.get("mcp-session-id"), request);
    return own ?? (message.method === "initialize" ? opens(message.id, `s${++opened}`) : null);
  });
  return Object.assign(server, { opened: () => opened });
}

/**
 * Starts a legacy server that gives every request the same answer, but ends the connection of requests for which `dies`
 * returns true or the text to send first.
 */
export function serveDying(dies: (request: string) => boolean | { said: string }) {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, data) {
        const request = data.toString();
        const id = /"id":(\d+)/.exec(request)?.[1];
        const end = dies(request);
        if (end) return void socket.end(end === true ? "" : end.said);
        const result = { protocolVersion: "2025-11-25", capabilities: {}, tools: [], content: [] };
        const body = id ? JSON.stringify({ jsonrpc: "2.0", id: Number(id), result }) : "";
        const head = `HTTP/1.1 ${id ? 200 : 202} OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
        socket.write(`${head}\r\n\r\n${body}`);
      },
    },
  });
  return { url: `http://127.0.0.1:${server.port}/`, [Symbol.dispose]: () => server.stop(true) };
}

/** Starts a server that sends only the beginning of the answer to a call, with a much larger Content-Length. */
export function serveBeginning(beginning: (id: string) => string, announced = 2 ** 30) {
  const inner = serve(() => null);
  let rest = Buffer.alloc(0);
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      drain: (socket) => void (rest = rest.subarray(socket.write(rest))),
      async data(socket, data) {
        const request = data.toString();
        const body = request.slice(request.indexOf("\r\n\r\n") + 4);
        const id = /"method":"tools\/call"/.test(body) ? (/"id":(\d+)/.exec(body)?.[1] ?? "") : null;
        const head = (length: number) =>
          `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
        if (id !== null) {
          rest = Buffer.from(head(announced) + beginning(id));
          rest = rest.subarray(socket.write(rest));
          return;
        }
        const answer = await fetch(inner.url, {
          method: "POST",
          body,
          headers: { "content-type": "application/json" },
        }).catch(() => null);
        // Both servers have been stopped in the meantime.
        if (!answer) return;
        const text = await answer.text();
        socket.write(head(text.length).replace("200 OK", `${answer.status} Status`) + text);
      },
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}/`,
    [Symbol.dispose]() {
      server.stop(true);
      inner[Symbol.dispose]();
    },
  };
}
