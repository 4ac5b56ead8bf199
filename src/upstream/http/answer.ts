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

/** What an HTTP status without a usable JSON-RPC answer means. */
export function faultOfStatus(host: Named, answer: Head, body: string): HttpFailure {
  return new HttpFailure(readStatus(host, answer, isCompressed(answer.headers) ? null : body), answer.status);
}

type Named = Pick<LinkHost, "server" | "secrets">;

type Head = Pick<Response, "status" | "headers">;

/** `body`: null for a compressed one. */
function readStatus({ server, secrets }: Named, { status, headers }: Head, body: string | null): Failure {
  const detail = body ? `: ${quoted(body, secrets())}` : "";
  if (status === 401 || status === 403) {
    return faults.down(
      server,
      `it refuses the gateway's credentials (HTTP ${status}); its configured headers need a look`,
    );
  }
  // It is how servers answer what they have done.
  if (status === 303) return faults.protocol(server, "it redirects (HTTP 303), which is never followed");
  if (status >= 300 && status < 400) {
    return faults.down(server, `it redirects (HTTP ${status}), which is never followed; configure the final URL`);
  }
  if (status === 407) {
    // It need not be the configured one, if there is any.
    const where = "those for its `proxy` go into that URL";
    return faults.down(server, `a proxy on the way to it wants credentials (HTTP 407); ${where}`);
  }
  if (status === 404 || status === 405) return faults.down(server, `nothing speaks MCP at its URL (HTTP ${status})`);
  if (status === 429 || status === 503)
    return faults.overloaded(server, `HTTP ${status}${detail}`, retryAfter(headers));
  if (status === 431) return faults.longHeaders(server);
  if (status >= 300) return faults.protocol(server, `HTTP ${status}${detail}`);
  const what = body === null ? "its answer is compressed, which it was asked not to do" : "no JSON-RPC answer";
  return faults.protocol(server, `${what} (HTTP ${status})`);
}

/** The longest wait that a caller is told of, ms: no agent waits longer. */
const longestWait = 3_600_000;

/** How long a server asks to wait (RFC 9110, 10.2.3), ms; undefined where it does not say. */
function retryAfter(headers: Headers): number | undefined {
  const said = headers.get("retry-after") ?? "";
  if (!/^\d+$| GMT$/.test(said)) return undefined;
  const ms = said.endsWith("GMT") ? Date.parse(said) - Date.now() : Number(said) * 1000;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 1_000), longestWait);
}

/**
 * The codes where nobody took the connection, which is the proxy's where there is one: the last two where this system's
 * rules let none be made.
 */
const unreached =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ESERVFAIL|EHOSTUNREACH|ENETUNREACH|ConnectionRefused|FailedToOpenSocket|EACCES|EPERM)$/;
/** Its code where a proxy let nothing through, and why stands in the message. */
const noTunnel = "ERR_PROXY_TUNNEL";
/**
 * The codes of fetch for other requests that never left this host. EPROTO may come after the whole request was sent.
 */
const neverSent = /^(.*CERT.*|ERR_TLS.*|UNABLE_TO.*|SELF_SIGNED.*)$/;

/** Those where nobody that is trusted has signed the certificate. */
const unknownIssuer = /SELF_SIGNED|UNABLE_TO/;

/** Why this process cannot open any file now; null where it can. */
const whyNoFile = (): unknown => thrownBy(() => closeSync(openSync("/dev/null", "r")));

/** The failure where no request left this host; null where the error says something else. */
export function unsentFault(server: string, error: unknown, proxy: string | undefined): Failure | null {
  const code = codeOf(error) ?? "";
  // A name that cannot be looked up for want of descriptors is told of as one that is not known, or leads nowhere.
  const shortage = Shortage.of(server, error) ?? (unreached.test(code) ? Shortage.of(server, whyNoFile()) : null);
  if (shortage) return shortage;
  if (unreached.test(code)) {
    return faults.down(server, `its ${proxy === undefined ? "address" : "proxy"} cannot be reached (${code})`);
  }
  if (!neverSent.test(code)) return null;
  const advice = unknownIssuer.test(code) ? "; name the file of your own CA in NODE_EXTRA_CA_CERTS" : "";
  return faults.down(server, `TLS to it fails (${code})${advice}`);
}

/** The failure that a failed fetch means, which depends on whether the server may have seen the request. */
export function faultOfError(host: Named, error: unknown, proxy?: string): Failure {
  const { server, secrets } = host;
  if (codeOf(error) === noTunnel) return faults.down(server, quoted(messageOf(error), secrets()));
  return unsentFault(server, error, proxy) ?? brokenOff(host, error);
}

/** The failure of a request that the server has seen, for an error that came later. */
export const brokenOff = ({ server, secrets }: Named, error: unknown): Failure =>
  faults.lost(server, quoted(codeOf(error) || messageOf(error), secrets()));

/** Whether a response declares the length of its body, at most `max` bytes. */
function isBounded(headers: Headers, max: number): boolean {
  const length = headers.get("content-length");
  return length !== null && Number(length) <= max && headers.get("transfer-encoding") === null;
}

/** Not every value means compression: there are servers that name the charset here. */
const compressions = /gzip|deflate|br|zstd|compress/i;

/** Whether a response is compressed, though servers are asked for none that is. */
const isCompressed = (headers: Headers): boolean => compressions.test(headers.get("content-encoding") ?? "");

/** Whether a response says that it is of this type, and can be read. */
export function isType(headers: Headers, type: string): boolean {
  const said = headers.get("content-type") ?? "";
  return (said.startsWith(type) || said.toLowerCase().startsWith(type)) && !isCompressed(headers);
}

/** Whether a response is the usual one: JSON of at most `max` bytes that can be read at once. */
export function isPlainJson({ status, headers }: Response, max: number): boolean {
  return status === 200 && isType(headers, "application/json") && isBounded(headers, max);
}

/** Ends a response whose body is of no interest. */
export const discard = ({ body }: Response): void => void body?.cancel().catch(() => {});

/** How long a server may take to send a short body after its head, ms. */
const patience = 1_000;

/** The body as text, if it has at most `max` bytes and comes whole and soon; of any other nothing, and it is ended. */
export async function shortText({ body }: Response, max: number): Promise<string> {
  const reader = body?.getReader();
  const reading = readUpTo(reader, max).catch(() => null);
  const text = await within(reading, patience, null, () => null);
  if (text === null) endReading(reader);
  return text ?? "";
}

/**
 * The body as text, a result of the longest size and headroom; throws `result-too-large`, or `upstream-overloaded`
 * where there is no room for it.
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

/** Closes the connection of the body too. */
const endReading = (reader: Reader | undefined): void => void reader?.cancel().catch(() => {});

/** The text of at most `max` bytes; null for a longer one, of which the rest is not read. */
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
