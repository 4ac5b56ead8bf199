import type { Server, SocketAddress } from "bun";
import { normalizeAddress } from "../core/cidr.ts";
import { Failure, failureFrom } from "../core/failure.ts";
import { List } from "../core/linked-list.ts";
import type { Logger } from "../core/log.ts";
import { Turn } from "../core/turns.ts";
import { noRegistration, pathNotFound } from "./admission.ts";
import { BodyReader, clientDisconnected } from "./body.ts";
import { ConnectionSlots } from "./connection-slots.ts";
import { cors } from "./cors.ts";
import { health, type HealthOptions, isLocal } from "./health.ts";
import { type HttpContext, HttpRequest } from "./http-request.ts";
import { shedIdleConnections } from "./idle-connections.ts";
import { originGuard, type OriginOptions } from "./origin.ts";
import { PostEndpoint } from "./post-endpoint.ts";
import { refusal } from "./reply.ts";
import { find, type Handler, type Methods, type Routes } from "./routes.ts";
import { sessionMethods } from "./session-endpoint.ts";
import { HttpSse } from "./sse-pair.ts";
import { type SocketData, WebSockets } from "./web-socket.ts";

export type HttpOptions = Omit<HttpContext, "bodies" | "slots"> &
  HealthOptions &
  Omit<OriginOptions, "host"> & {
    address: { readonly host: string; readonly port: number };
    /** PEM texts. */
    tls: { readonly cert: string; readonly key: string } | null;
    /** Returns how many descriptors of this process are not callers' connections, not counting `ownDescriptors`. */
    otherDescriptors: () => number;
    patience?: Patience;
    log: Logger;
  };

/** A running HTTP front door. */
export type HttpServer = {
  /** `http://host:port`, with the port that was actually bound. */
  readonly url: string;
  /** Applies limits that have changed since the start. */
  refresh(): void;
  /** Stops accepting connections. Running calls continue, but clients can no longer answer their questions. */
  stop(): void;
  close(): Promise<void>;
};

/** Time for connections to receive their last bytes at shutdown, ms. */
const lastWords = 250;

/** Idle timeout of a connection, seconds. */
const idleSeconds = 30;

/**
 * When a request counts as long: its connection is then exempt from the idle timeout, and its stream is opened if its
 * client accepts one. This happens after `after` ms, or after `resumable` ms if the client could resume the stream.
 * `every` is the time between two checks, ms.
 */
type Patience = { readonly after: number; readonly resumable: number; readonly every: number };

const defaultPatience: Patience = { after: 5_000, resumable: 250, every: 250 };

/** Starts the HTTP server; throws if the address cannot be bound. */
export function serveHttp(options: HttpOptions): HttpServer {
  const { address, log, maxConnections: max, patience = defaultPatience } = options;
  const bodies = new BodyReader(() => options.current().caps.body);
  const context = { ...options, bodies, slots: new ConnectionSlots() };
  const pair = new HttpSse(context);
  const sockets = new WebSockets(context);
  const guard = originGuard({ ...options, host: address.host });
  const ws: Methods = { GET: (request) => sockets.upgrade(request, server) };
  const routes = routesOf(context, pair, ws, health(options));
  const { preflight, stamp } = cors(options.allowedOrigins);
  const pending = new List<HttpRequest>();

  const answer: Answer = async (req, from) => {
    // A client that has disconnected has no address any more, and without one the request cannot be checked.
    if (from === null) return refusal(clientDisconnected());
    const request = new HttpRequest(req, normalizeAddress(from.address));
    if (exceedsConnections(server, pending.size, max) && !isForOperators(request))
      return stamp(req, refusal(turnAway(options)));
    const node = pending.add(request);
    try {
      guard(req.headers);
      const response = preflight(req) ?? (await dispatch(routes, request));
      return response && stamp(req, response);
    } catch (error) {
      return stamp(req, refusal(failureFrom(error, log)));
    } finally {
      if (request.call) void request.call.catch(() => {}).then(() => pending.delete(node));
      else pending.delete(node);
      if (request.kept) server.timeout(req, idleSeconds);
    }
  };

  const server = listenBy(options, handlersOf(options, sockets, answer));
  const shedding = shedIdleConnections(max, options.otherDescriptors, () => server.closeIdleConnections());
  const keeper = setInterval(() => keepLongRequestsOpen(server, pending, patience), patience.every).unref();
  let stopped: Promise<void> | null = null;
  return {
    url: urlOf(server, options),
    refresh: () => void server.reload(handlersOf(options, sockets, answer)),
    stop() {
      stopped ??= server.stop(false);
      // Bun has closed all idle connections and accepts no more requests, so no answers can arrive.
      options.sessions.stopAsking();
      pair.stopAsking();
    },
    async close() {
      shedding.close();
      pair.closeAll();
      sockets.closeAll();
      clearInterval(keeper);
      // The last bytes are still being sent, but a kept-alive connection must not delay the shutdown.
      await Promise.race([stopped ?? server.stop(false), Bun.sleep(lastWords)]);
      await server.stop(true);
    },
  };
}

const listenBy = ({ address, tls }: HttpOptions, handlers: ReturnType<typeof handlersOf>): Server<SocketData> =>
  Bun.serve({
    hostname: address.host,
    port: address.port,
    idleTimeout: idleSeconds,
    // BodyReader enforces the limit instead, since a refusal must be recorded.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    ...(tls ? { tls } : {}),
    ...handlers,
  });

type Answer = (req: Request, from: SocketAddress | null) => Promise<Response | undefined>;

/**
 * Lets other connections have their turn while a client pipelines requests, since Bun delivers all requests that it has
 * read from one connection at once. Bun closes the connection if another request arrives while one waits.
 */
function takingTurns(answer: Answer) {
  let port = 0;
  let turn = new Turn();
  return (req: Request, server: Server<SocketData>) => {
    const from = server.requestIP(req);
    if (from?.port !== port) {
      port = from?.port ?? 0;
      turn = new Turn();
    }
    if (turn.spent) return turn.next().then(() => answer(req, from));
    turn.begin();
    const response = answer(req, from);
    turn.over();
    return response;
  };
}

/** Returns the callbacks of Bun's server; they limit WebSocket frames to the current limits.body. */
const handlersOf = ({ current, log }: HttpOptions, sockets: WebSockets, answer: Answer) => ({
  fetch: takingTurns(answer),
  websocket: sockets.handler(current().caps.body),
  error: (error: unknown) => refusal(failureFrom(error, log)),
});

function urlOf({ port }: Server<SocketData>, { address, tls }: HttpOptions): string {
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${tls ? "https" : "http"}://${host}:${port ?? address.port}`;
}

function routesOf(context: HttpContext, pair: HttpSse, ws: Methods, operators: Routes["exact"]): Routes {
  const endpoint = new PostEndpoint(context);
  const mcp: Methods = { POST: (request) => endpoint.post(request), ...sessionMethods(context) };
  const sse: Methods = { GET: (request) => pair.get(request) };
  const messages: Methods = { POST: (request) => pair.post(request) };
  const register: Methods = { POST: noRegistration };
  return {
    exact: { "/mcp": mcp, "/sse": sse, "/messages": messages, "/ws": ws, "/register": register, ...operators },
    scoped: { "/mcp/*": mcp, "/ws/*": ws, "/*/sse": sse, "/*/messages": messages },
  };
}

/** Exempts the connections of long requests from the idle timeout, and opens their streams; see `Patience`. */
function keepLongRequestsOpen(
  server: Server<SocketData>,
  pending: List<HttpRequest>,
  { after, resumable }: Patience,
): void {
  const now = performance.now();
  for (const request of pending.items) {
    const silent = now - request.since;
    // The list is ordered oldest first.
    if (silent < Math.min(after, resumable)) return;
    if (silent < (request.resumable ? resumable : after)) continue;
    if (!request.kept) server.timeout(request.raw, 0);
    request.kept = true;
    const { onLong } = request;
    request.onLong = null;
    onLong?.();
  }
}

function dispatch(routes: Routes, request: HttpRequest): ReturnType<Handler> {
  const { raw } = request;
  const found = find(routes, pathOf(raw.url));
  if (!found) return pathNotFound();
  request.scope = found.scope;
  const handler = found.methods[raw.method];
  if (handler) return handler(request);
  return new Response(null, { status: 405, headers: { allow: Object.keys(found.methods).join(", ") } });
}

/** Returns the path without the query, undecoded. Bun has already resolved dot segments. */
function pathOf(url: string): string {
  const from = url.indexOf("/", url.indexOf("//") + 2);
  const query = url.indexOf("?", from);
  return url.slice(from, query === -1 ? undefined : query);
}

/**
 * Whether this request exceeds `max`. Bun's counts include this request, streams and WebSockets, but not calls whose
 * client has disconnected; `running` includes those calls, but not this request.
 */
function exceedsConnections(server: Server<SocketData>, running: number, max: number): boolean {
  return server.pendingRequests + server.pendingWebSockets > max || running >= max;
}

/** Whether the request is one that operators need to see that the connection limit is reached. */
function isForOperators(request: HttpRequest): boolean {
  const path = pathOf(request.raw.url);
  return path === "/live" || (path === "/metrics" && isLocal(request));
}

/** Counts and logs a request refused because the connection limit is reached, and returns its failure. */
function turnAway({ log, traffic, maxConnections: places }: HttpOptions): Failure {
  const facts = { places, refusedSoFar: ++traffic.refused };
  log.warn("requests are refused because listen.maxConnections is reached", facts, "crowded");
  const message = `All ${places} connections that listen.maxConnections allows are in use; try again later.`;
  return new Failure("crowded", message, { retryAfterMs: 1_000 });
}
