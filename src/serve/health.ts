import { normalizeHost } from "../core/host-name.ts";
import type { Capability } from "../core/ports.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { authenticate } from "./admission.ts";
import { credentialsOf, sourceOf } from "./credentials.ts";
import { type HttpRequest, presentedBy } from "./http-request.ts";
import type { Handler, Methods } from "./routes.ts";

/** The response of `/ready`. Everyone gets the status word; the detail is for callers allowed `mcpgw:status`. */
export type Readiness = { readonly ready: boolean; readonly detail: Readonly<Record<string, unknown>> };

export type HealthOptions = {
  current: () => Gateway;
  readiness: () => Readiness;
  /** Prometheus text. */
  metrics: () => string;
};

/** The routes for orchestrators and Prometheus. */
export function health({ current, readiness, metrics }: HealthOptions): Record<string, Methods> {
  const allowed = async (request: HttpRequest, capability: Capability): Promise<boolean> => {
    if (isLocal(request)) return true;
    const gw = current();
    return gw.policy.permits(await authenticate(gw, request), capability, presentedBy(request).source);
  };
  const ready: Handler = async (request) => {
    const { ready, detail } = readiness();
    const status = ready ? "ready" : "not-ready";
    // A health check sends no key and needs only the status word.
    const asks = isLocal(request) || credentialsOf(request.raw.headers).length > 0;
    const shown = asks && (await allowed(request, "status").catch(() => false));
    return Response.json(shown ? { status, ...detail } : { status }, { status: ready ? 200 : 503 });
  };
  const expose: Handler = async (request) => {
    if (!(await allowed(request, "metrics"))) {
      return new Response("This path requires a key whose policy allows mcpgw:metrics.\n", { status: 403 });
    }
    return new Response(metrics(), { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
  };
  // Some health checks use HEAD; Bun's server omits the body of its response.
  const read = (answer: Handler): Methods => ({ GET: answer, HEAD: answer });
  return { "/live": read(() => new Response("live\n")), "/ready": read(ready), "/metrics": read(expose) };
}

/**
 * Whether the request comes from a process on this machine, not through a proxy and not from a web page. A page from
 * `allowedOrigins` may read responses, but needs a key like any other caller.
 */
export function isLocal({ raw: { headers }, ip }: HttpRequest): boolean {
  const source = sourceOf(headers, ip);
  return source.loopback && !source.forwarded && !headers.has("origin") && !isPublicName(headers.get("host") ?? "");
}

/** Whether a Host is a name that anyone could register and point at this machine (DNS rebinding). */
function isPublicName(host: string): boolean {
  const name = normalizeHost(host.replace(/:\d*$/, ""));
  const label = name.lastIndexOf(".");
  return label !== -1 && /[a-z]/.test(name.slice(label));
}
