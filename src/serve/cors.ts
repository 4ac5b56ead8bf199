const allow = { "access-control-allow-methods": "GET, POST, DELETE", "access-control-max-age": "600" };
const allowed =
  "authorization, content-type, accept, last-event-id, mcp-protocol-version, mcp-session-id, mcp-method, mcp-name, x-api-key";
const exposed =
  "mcp-session-id, mcp-protocol-version, mcp-method, mcp-name, last-event-id, retry-after, www-authenticate";
/** Headers that repeat an argument of a tool (2026-07-28, streamable HTTP); each tool names its own. */
const repeatsArgument = /^mcp-param-[\w!#$%&'*+.^`|~-]+$/i;

function allowedHeaders(req: Request): string {
  const asked = req.headers.get("access-control-request-headers")?.split(",") ?? [];
  return [allowed, ...asked.map((name) => name.trim()).filter((name) => repeatsArgument.test(name))].join(", ");
}

/** Lets web pages of the allowed origins read responses (Fetch standard, CORS); never with cookies, never for `*`. */
export function cors(allowedOrigins: readonly string[]) {
  const origins = new Set(allowedOrigins.map((origin) => origin.toLowerCase()));
  const grant = (req: Request): Record<string, string> | null => {
    const origin = req.headers.get("origin");
    if (origin === null || !origins.has(origin.toLowerCase())) return null;
    return { "access-control-allow-origin": origin, "access-control-expose-headers": exposed, vary: "origin" };
  };
  return {
    /** Returns the response to a preflight request of an allowed origin; null for any other request. */
    preflight(req: Request): Response | null {
      if (req.method !== "OPTIONS" || !req.headers.has("access-control-request-method")) return null;
      const granted = grant(req);
      if (!granted) return null;
      const headers = { ...granted, ...allow, "access-control-allow-headers": allowedHeaders(req) };
      return new Response(null, { status: 204, headers });
    },
    stamp(req: Request, response: Response): Response {
      if (origins.size === 0) return response;
      for (const [name, value] of Object.entries(grant(req) ?? {})) response.headers.set(name, value);
      return response;
    },
  };
}
