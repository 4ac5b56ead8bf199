import type { Gateway } from "../gateway/gateway.ts";
import { credentialsOf, sourceOf } from "./credentials.ts";
import { whoAsks } from "./wire.ts";

/** The answer of `/ready`. Everybody gets the word; the detail is for callers allowed `mcpgw:status`. */
export type Readiness = { readonly ready: boolean; readonly detail: Readonly<Record<string, unknown>> };

export type HealthOptions = {
  current: () => Gateway;
  readiness: () => Readiness;
  /** Prometheus text. */
  metrics: () => string;
};

type Handler = (req: Request, ip: string | null) => Response | Promise<Response>;

/** The routes for orchestrators and Prometheus. */
export function health({ current, readiness, metrics }: HealthOptions): Record<string, Record<string, Handler>> {
  const allowed = async (req: Request, ip: string | null, capability: string): Promise<boolean> => {
    if (isLocal(req, ip)) return true;
    const gw = current();
    return gw.policy.permits(await whoAsks(gw, req, ip), capability, sourceOf(req.headers, ip));
  };
  const ready: Handler = async (req, ip) => {
    const { ready, detail } = readiness();
    const status = ready ? "ready" : "not-ready";
    // A health check sends no key and needs only the word.
    const asks = isLocal(req, ip) || credentialsOf(req.headers).length > 0;
    const shown = asks && (await allowed(req, ip, "mcpgw:status").catch(() => false));
    return Response.json(shown ? { status, ...detail } : { status }, { status: ready ? 200 : 503 });
  };
  const expose: Handler = async (req, ip) => {
    if (!(await allowed(req, ip, "mcpgw:metrics"))) {
      return new Response("This needs a key whose policy allows mcpgw:metrics.\n", { status: 403 });
    }
    return new Response(metrics(), { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
  };
  return { "/live": { GET: () => new Response("live\n") }, "/ready": { GET: ready }, "/metrics": { GET: expose } };
}

/** Whether the request comes from a process on this machine, not through a proxy. */
export function isLocal(req: Request, ip: string | null): boolean {
  const source = sourceOf(req.headers, ip);
  return source.loopback && !source.forwarded;
}
