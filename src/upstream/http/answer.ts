import { closeSync, openSync } from "node:fs";
import { thrownBy } from "../../core/attempt.ts";
import { codeOf, messageOf } from "../../core/error-text.ts";
import { Failure } from "../../core/failure.ts";
import { within } from "../../core/wait.ts";
import { headroom } from "../../mcp/message.ts";
import { decodeUtf8 } from "../../mcp/utf8.ts";
import { faults, HttpFailure, Shortage, quoted } from "../faults.ts";
import type { LinkHost, Purpose } from "../link/link.ts";
import { createArrival } from "./arrival.ts";

/** Returns the failure for an HTTP status without a usable JSON-RPC answer. */
export function faultOfStatus(host: Named, answer: Head, body: string): HttpFailure {
  return new HttpFailure(readStatus(host, answer, isCompressed(answer.headers) ? null : body), answer.status);
}

type Named = Pick<LinkHost, "server" | "secrets">;

type Head = Pick<Response, "status" | "headers">;

/** `body` is null if it is compressed. */
function readStatus({ server, secrets }: Named, { status, headers }: Head, body: string | null): Failure {
  const detail = body ? `: ${quoted(body, secrets())}` : "";
  if (status === 401 || status === 403) {
    return faults.down(server, `it refuses the gateway's credentials (HTTP ${status}); check its configured headers`);
  }
  // Servers answer with 303 after they have acted on a request.
  if (status === 303) return faults.protocol(server, "it redirects (HTTP 303); redirects are never followed");
  if (status >= 300 && status < 400) {
    return faults.down(
      server,
      `it redirects (HTTP ${status}); redirects are never followed, so configure the final URL`,
    );
  }
  if (status === 407) {
    // The proxy need not be the configured one, if there is one at all.
    const where = "put those for its `proxy` into the proxy's URL";
    return faults.down(server, `a proxy on the way to it requires credentials (HTTP 407); ${where}`);
  }
  if (status === 404 || status === 405) return faults.down(server, `nothing speaks MCP at its URL (HTTP ${status})`);
  if (status === 429 || status === 503)
    return faults.overloaded(server, `HTTP ${status}${detail}`, retryAfter(headers));
  if (status === 431) return faults.longHeaders(server);
  if (status >= 300) return faults.protocol(server, `HTTP ${status}${detail}`);
  const what = body === null ? "its answer is compressed despite `Accept-Encoding: identity`" : "no JSON-RPC answer";
  return faults.protocol(server, `${what} (HTTP ${status})`);
}

/** Maximum wait that is reported to a caller, ms: no agent waits longer. */
const maxDelayMs = 3_600_000;

/** Returns how long a server asks to wait (RFC 9110, section 10.2.3), ms; undefined if it does not say. */
function retryAfter(headers: Headers): number | undefined {
  const said = headers.get("retry-after") ?? "";
  if (!/^\d+$| GMT$/.test(said)) return undefined;
  const ms = said.endsWith("GMT") ? Date.parse(said) - Date.now() : Number(said) * 1000;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 1_000), maxDelayMs);
}

/** Error codes of an unreachable server (or proxy, if there is one); the last two: rules of this system forbid it. */
const unreached =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ESERVFAIL|EHOSTUNREACH|ENETUNREACH|ConnectionRefused|FailedToOpenSocket|EACCES|EPERM)$/;
/** Error code if a proxy did not let the request through; the message says why. */
const proxyTunnelError = "ERR_PROXY_TUNNEL";
/** Other error codes of unsent requests. EPROTO is not one: it may come after the whole request was sent. */
const unsentCodes = /^(.*CERT.*|ERR_TLS.*|UNABLE_TO.*|SELF_SIGNED.*)$/;

/** Those of a certificate that no trusted CA has signed. */
const unknownIssuer = /SELF_SIGNED|UNABLE_TO/;

/** Returns why this process cannot open any file now; null if it can. */
const openFailure = (): unknown => thrownBy(() => closeSync(openSync("/dev/null", "r")));

/** Returns the failure if no request left this host; null if the error means something else. */
export function unsentFault(server: string, error: unknown, proxy: string | undefined): Failure | null {
  const code = codeOf(error) ?? "";
  // A look-up that fails for lack of descriptors is reported like an unknown or unreachable name.
  const shortage = Shortage.of(server, error) ?? (unreached.test(code) ? Shortage.of(server, openFailure()) : null);
  if (shortage) return shortage;
  if (unreached.test(code)) {
    return faults.down(server, `its ${proxy === undefined ? "address" : "proxy"} cannot be reached (${code})`);
  }
  if (!unsentCodes.test(code)) return null;
  const advice = unknownIssuer.test(code) ? "; set NODE_EXTRA_CA_CERTS to the file of your own CA" : "";
  return faults.down(server, `the TLS handshake with it failed (${code})${advice}`);
}

/** Returns the failure for a failed fetch, which depends on whether the server may have received the request. */
export function faultOfError(host: Named, error: unknown, proxy?: string): Failure {
  const { server, secrets } = host;
  if (codeOf(error) === proxyTunnelError) return faults.down(server, quoted(messageOf(error), secrets()));
  return unsentFault(server, error, proxy) ?? connectionLost(host, error);
}

/** Returns the failure of a request that the server has received, for a later error. */
export const connectionLost = ({ server, secrets }: Named, error: unknown): Failure =>
  faults.lost(server, quoted(codeOf(error) || messageOf(error), secrets()));

/** Reports whether a response declares the length of its body, at most `max` bytes. */
function isBounded(headers: Headers, max: number): boolean {
  const length = headers.get("content-length");
  return length !== null && Number(length) <= max && headers.get("transfer-encoding") === null;
}

/** Not every value means compression: some servers put the charset here. */
const compressions = /gzip|deflate|br|zstd|compress/i;

/** Reports whether a response is compressed, although servers are asked not to compress. */
const isCompressed = (headers: Headers): boolean => compressions.test(headers.get("content-encoding") ?? "");

/** Reports whether a response has this type and can be read. */
export function isType(headers: Headers, type: string): boolean {
  const said = headers.get("content-type") ?? "";
  return (said.startsWith(type) || said.toLowerCase().startsWith(type)) && !isCompressed(headers);
}

/** Reports whether a response is the usual one: JSON of at most `max` bytes that can be read at once. */
export function isPlainJson({ status, headers }: Response, max: number): boolean {
  return status === 200 && isType(headers, "application/json") && isBounded(headers, max);
}

/** Ends a response whose body is not needed. */
export const discard = ({ body }: Response): void => void body?.cancel().catch(() => {});

/** Maximum time for a server to send a short body after the headers, ms. */
const patience = 1_000;

/** Returns the body as text; empty, and the body ended, if it exceeds `max` bytes or does not arrive soon. */
export async function shortText({ body }: Response, max: number): Promise<string> {
  const reader = body?.getReader();
  const reading = readUpTo(reader, max).catch(() => null);
  const text = await within(reading, patience, null, () => null);
  if (text === null) endReading(reader);
  return text ?? "";
}

/**
 * Returns the body as text, up to the maximum result size plus headroom. Throws `result-too-large`, or
 * `upstream-overloaded` if there is no room for it.
 */
export async function readText(response: Response, host: LinkHost, purpose: Purpose): Promise<string> {
  const { server } = host;
  const { result } = host.limits();
  const max = result + headroom;
  const hold = createArrival(server, () => max, purpose);
  const declared = isBounded(response.headers, max) ? Number(response.headers.get("content-length")) : null;
  const reader = declared === null ? response.body?.getReader() : undefined;
  try {
    if (declared !== null) {
      hold(declared);
      return decodeUtf8(await response.arrayBuffer());
    }
    const text = await readUpTo(reader, max, hold);
    if (text === null) throw faults.tooLarge(server, result);
    return text;
  } catch (error) {
    if (reader) endReading(reader);
    else discard(response);
    throw error;
  } finally {
    hold(0);
  }
}

type Reader = Pick<ReadableStreamDefaultReader<Uint8Array>, "read" | "cancel">;

/** Also closes the connection of the body. */
const endReading = (reader: Reader | undefined): void => void reader?.cancel().catch(() => {});

/** Returns the text of at most `max` bytes; null for a longer one, whose rest is not read. */
async function readUpTo(
  reader: Reader | undefined,
  max: number,
  hold?: (bytes: number) => void,
): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { value } = (await reader?.read()) ?? {};
    if (!value) return decodeUtf8(Buffer.concat(chunks));
    size += value.length;
    if (size > max) return null;
    hold?.(size);
    chunks.push(value);
  }
}
