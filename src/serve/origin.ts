import { isLoopback } from "../core/cidr.ts";
import { Failure } from "../core/failure.ts";
import { hostName, normalizeHost } from "../core/host-name.ts";
import { cut } from "../core/text.ts";

export type OriginOptions = {
  /** The host that the server listens on, without brackets. */
  host: string;
  allowedHosts: readonly string[];
  allowedOrigins: readonly string[];
};

const loopbackNames: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
const hostShape = new RegExp(String.raw`^(${hostName})(?::\d{1,5})?$`);

/**
 * Returns a check against DNS rebinding and cross-site requests, for every route. It throws `invalid-request` for a
 * malformed Host and `bad-origin` for a Host or Origin that is not allowed.
 */
export function originGuard({ host, allowedHosts, allowedOrigins }: OriginOptions): (headers: Headers) => void {
  const onLoopback = isLoopback(host);
  const names = new Set(allowedHosts.map(normalizeHost));
  const origins = new Set(allowedOrigins.map((origin) => origin.toLowerCase()));
  const own = ownName(host);
  const knownHost = (name: string): boolean => {
    if (name === own || names.has(name)) return true;
    if (onLoopback) return loopbackNames.has(name);
    // Outside loopback every caller needs a credential, which a page that rebinds DNS does not have. A list of allowed
    // hosts restricts the names further.
    return names.size === 0;
  };
  let last = "";
  return (headers) => {
    const value = headers.get("host") ?? "";
    const origin = headers.get("origin");
    // Nearly every request has the same Host as the previous one.
    if (value === last && origin === null && value !== "") return;
    const match = hostShape.exec(value);
    if (!match) {
      throw new Failure(
        "invalid-request",
        'The Host header is missing or malformed; a host name has only letters, digits, "-", "_" and dots.',
      );
    }
    const name = normalizeHost(match[1] ?? "");
    if (!knownHost(name)) {
      throw new Failure(
        "bad-origin",
        `Host "${name}" is not served here; add it to listen.allowedHosts if it should be.`,
      );
    }
    if (origin !== null && !knownOrigin(origin.toLowerCase(), value.toLowerCase(), origins)) {
      const remedy = "add it to listen.allowedOrigins if it should";
      throw new Failure("bad-origin", `This Origin may not use the gateway; ${remedy}.`, {
        internal: `Origin ${cut(origin, 100)} may not use the gateway; ${remedy}`,
      });
    }
    last = value;
  };
}

/** Returns the listening address as it appears in a Host header; null for a wildcard address. */
function ownName(host: string): string | null {
  const name = URL.parse(`http://${host.includes(":") ? `[${host}]` : host}`)?.hostname ?? null;
  return name === null || name === "0.0.0.0" || name === "[::]" ? null : normalizeHost(name);
}

function knownOrigin(origin: string, host: string, origins: ReadonlySet<string>): boolean {
  return origins.has(origin) || origin === `http://${host}` || origin === `https://${host}`;
}
