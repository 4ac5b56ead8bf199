import { asFailure, Failure } from "../core/failure.ts";
import type { Logger } from "../core/log.ts";
import type { Server } from "bun";
import { BodyReader } from "./body.ts";
import { cors } from "./cors.ts";
import { watchCrowd } from "./crowd.ts";
import { Endpoint, type EndpointOptions } from "./endpoint.ts";
import { health, type HealthOptions } from "./health.ts";
import { originGuard, type OriginOptions } from "./origin.ts";
import { refusal } from "./reply.ts";

export type HttpOptions = Omit<EndpointOptions, "bodies"> &
  HealthOptions &
  Omit<OriginOptions, "host"> & {
    address: { readonly host: string; readonly port: number };
    /** PEM texts. */
    tls: { readonly cert: string; readonly key: string } | null;
    maxConnections: number;
    /** Descriptors of this process that are no connections of callers, besides a few. */
    otherDescriptors: () => number;
    log: Logger;
  };

/** A running HTTP front door. */
export type HttpServer = {
  /** `http://host:port`, with the port that was really bound. */
  readonly url: string;
  readonly port: number;
  /** Stops accepting; what runs goes on. */
  stop(): void;
  /** Cuts what is left. */
  close(): Promise<void>;
};

type Handler = (req: Request, ip: string | null) => Response | Promise<Response>;
type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>;

/** How long connections get to take what was sent last, ms. */
const lastWords = 250;

/** Seconds after which a connection that sends nothing is closed. */
const idleSeconds = 30;

/** Ms after which a request's connection is kept however silent it is, since its call may take long; and between two looks. */
const patience = { after: 5_000, every: 1_000 };

/** A request that is being answered. */
type Pending = { readonly req: Request; readonly since: number; kept: boolean };

/** Starts the HTTP server; throws when the address cannot be bound. */
export function serveHttp(options: HttpOptions): HttpServer {
  const { address, log } = options;
  const routes = routesOf(options);
  const guard = originGuard({ ...options, host: address.host });
  const { preflight, stamp } = cors(options.allowedOrigins);
  const crowd = watchCrowd(options.maxConnections, options.otherDescriptors);
  const pending = new Set<Pending>();

  const answer = async (req: Request, server: Server<undefined>): Promise<Response> => {
    if (crowd.full || pending.size >= options.maxConnections) return refusal(crowded(options.maxConnections));
    const entry = { req, since: performance.now(), kept: false };
    pending.add(entry);
    try {
      guard(req.headers);
      return preflight(req) ?? stamp(req, await dispatch(routes, req, server.requestIP(req)?.address ?? null));
    } catch (error) {
      const failure = asFailure(error);
      if (failure.detail.internal) log.error("request failed", { cause: failure.detail.internal });
      return refusal(failure);
    } finally {
      pending.delete(entry);
      if (entry.kept) server.timeout(req, idleSeconds);
    }
  };

  const server = Bun.serve({
    hostname: address.host,
    port: address.port,
    idleTimeout: idleSeconds,
    // The limit is enforced where a refusal can be recorded: in BodyReader.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    ...(options.tls ? { tls: options.tls } : {}),
    fetch: answer,
    error: () => refusal(new Failure("internal", "The gateway failed on this request.")),
  });
  const keeper = setInterval(keepSilent, patience.every, server, pending);
  keeper.unref();
  const port = server.port ?? address.port;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  let stopped: Promise<void> | null = null;
  return {
    url: `${options.tls ? "https" : "http"}://${host}:${port}`,
    port,
    stop: () => void (stopped ??= server.stop(false)),
    async close() {
      crowd.close();
      clearInterval(keeper);
      // What was written last is still on its way out; a connection that is kept alive may not hold this up.
      await Promise.race([stopped ?? server.stop(false), Bun.sleep(lastWords)]);
      await server.stop(true);
    },
  };
}

function routesOf(options: HttpOptions): Routes {
  const bodies = new BodyReader(() => options.current().shape.body);
  const endpoint = new Endpoint({ ...options, bodies });
  return {
    "/mcp": {
      POST: (req, ip) => endpoint.post(req, ip),
      GET: (req, ip) => endpoint.get(req, ip),
      DELETE: (req, ip) => endpoint.delete(req, ip),
    },
    ...health(options),
  };
}

/** Keeps the connections of requests that take long; most are answered before, and need not trouble the server. */
function keepSilent(server: Server<undefined>, pending: ReadonlySet<Pending>): void {
  const before = performance.now() - patience.after;
  for (const entry of pending) {
    // Insertion order is order of age.
    if (entry.since > before) return;
    if (!entry.kept) server.timeout(entry.req, 0);
    entry.kept = true;
  }
}

function dispatch(routes: Routes, req: Request, ip: string | null): Response | Promise<Response> {
  const path = pathOf(req.url);
  const methods = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (!methods) return new Response(`Nothing is served at this path; MCP is at /mcp.\n`, { status: 404 });
  const handler = methods[req.method];
  if (handler) return handler(req, ip);
  return new Response(null, { status: 405, headers: { allow: Object.keys(methods).join(", ") } });
}

/** The path without the query, compared as it is: Bun has resolved dot segments, nothing is decoded. */
function pathOf(url: string): string {
  const from = url.indexOf("/", url.indexOf("//") + 2);
  const query = url.indexOf("?", from);
  return url.slice(from, query === -1 ? undefined : query);
}

function crowded(max: number): Failure {
  return new Failure("crowded", `All ${max} connections that listen.maxConnections allows are taken; try again.`, {
    retryAfterMs: 1_000,
  });
}
