import type { Gateway } from "../gateway/gateway.ts";
import { sourceOf } from "./credentials.ts";
import { probe } from "./endpoint.ts";

/** What `/ready` knows; the word is for everybody, the detail for those allowed `mcpgw:status`. */
export type Readiness = { readonly ready: boolean; readonly detail: Readonly<Record<string, unknown>> };

export type HealthOptions = {
  current: () => Gateway;
  readiness: () => Readiness;
  /** Prometheus text. */
  metrics: () => string;
};

type Handler = (req: Request, ip: string | null) => Response;

/** The routes that orchestrators and Prometheus ask. */
export function health({ current, readiness, metrics }: HealthOptions): Record<string, Record<string, Handler>> {
  const allowed = (req: Request, ip: string | null, capability: string): boolean => {
    const source = sourceOf(req.headers, ip);
    if (source.loopback && !source.forwarded) return true;
    const gw = current();
    const who = gw.authn.identify(probe(gw, req, source));
    return gw.policy.permits(who, capability);
  };
  const ready: Handler = (req, ip) => {
    const { ready, detail } = readiness();
    const status = ready ? "ready" : "not-ready";
    const init = { status: ready ? 200 : 503 };
    return Response.json(mayOr(() => allowed(req, ip, "mcpgw:status")) ? { status, ...detail } : { status }, init);
  };
  const expose: Handler = (req, ip) => {
    if (!allowed(req, ip, "mcpgw:metrics")) {
      return new Response("This needs a key whose policy allows mcpgw:metrics.\n", { status: 403 });
    }
    return new Response(metrics(), { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
  };
  return { "/live": { GET: () => new Response("live\n") }, "/ready": { GET: ready }, "/metrics": { GET: expose } };
}

/** For answers that have something to say to strangers too. */
function mayOr(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    return false;
  }
}
