import type { Request } from "./load.ts";
import { sampleOf } from "./stats.ts";

// The load generator for machines without wrk: raw sockets, a request encoded once, one request in flight per socket.

type Order = { readonly request: Request; readonly callers: number; readonly seconds: number };

type Caller = { sent: number; buffered: Buffer };

const { request, callers, seconds } = JSON.parse(process.argv[2] ?? "{}") as Order;
const url = new URL(request.url);
const bytes = Buffer.from(
  `POST ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nContent-Length: ${Buffer.byteLength(request.body)}\r\n${Object.entries(
    request.headers,
  )
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("")}\r\n${request.body}`,
);
const latencies: number[] = [];
let errors = 0;

/** Returns the length in bytes of the first complete response in `data`; 0 if it is not complete yet. */
function responseLength(data: Buffer): number {
  const head = data.indexOf("\r\n\r\n");
  if (head < 0) return 0;
  const length = /content-length: *(\d+)/i.exec(data.toString("latin1", 0, head))?.[1];
  if (length === undefined) throw new Error("the generator can read only responses with a Content-Length");
  const total = head + 4 + Number(length);
  return data.length >= total ? total : 0;
}

const started = performance.now();
const end = started + seconds * 1000;
const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
let running = callers;

function leave(): void {
  if (--running === 0) finish();
}

function send(socket: Bun.Socket<Caller>): void {
  socket.data.sent = performance.now();
  if (socket.write(bytes) < bytes.length) throw new Error("the request does not fit into the socket's buffer");
}

const socket: Bun.SocketHandler<Caller> = {
  open: send,
  data(connection, chunk) {
    const state = connection.data;
    state.buffered = state.buffered.length === 0 ? chunk : Buffer.concat([state.buffered, chunk]);
    const length = responseLength(state.buffered);
    if (length === 0) return;
    const now = performance.now();
    latencies.push(now - state.sent);
    if (!state.buffered.toString("latin1", 0, 12).startsWith("HTTP/1.1 2")) errors++;
    state.buffered = state.buffered.subarray(length);
    if (now < end) send(connection);
    else connection.end();
  },
  close: leave,
  connectError() {
    errors++;
    leave();
  },
};

for (let index = 0; index < callers; index++) {
  const data: Caller = { sent: 0, buffered: Buffer.alloc(0) };
  void Bun.connect({ hostname: url.hostname, port: Number(url.port), socket, data }).catch(() => {});
}
await finished;
console.log(JSON.stringify(sampleOf(latencies, started, errors)));
