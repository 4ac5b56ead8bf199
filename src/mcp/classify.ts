import { Failure } from "../core/failure.ts";
import {
  type ClientAnswer,
  type ClientCapabilities,
  type Era,
  type Inbound,
  type LogLevel,
  logLevels,
  type Revision,
  type Span,
} from "../core/inbound.ts";
import { isObject } from "../core/json.ts";
import { copied, cut, plain } from "../core/text.ts";
import { readParamHeaders } from "./headers.ts";
import { type RpcMessage, isId, maxIdLength, parseMessage } from "./message.ts";
import { locate, rawValue } from "./json-text.ts";
import { specOf } from "./methods.ts";
import { clientCapabilitiesKey, clientInfoKey, type Implementation, logLevelKey, protocolVersionKey } from "./meta.ts";
import { isModern, modernRevision } from "./revisions.ts";
import type { ScanLimits } from "./scan.ts";
import { checkStandardHeaders, checkVersionHeader, legacyRevision, versionHeader } from "./standard-headers.ts";

/** What the transport knows about a message before parsing it. */
export type WireContext = {
  /** The HTTP headers; null for other transports. */
  readonly headers: Headers | null;
  /** The era set by the first message of a stdio connection; null before it. With HTTP, each body sets its own era. */
  readonly pinned: Era | null;
  /** The revision negotiated for a legacy connection or session. */
  readonly revision: Revision | null;
};

type Meta = Readonly<Record<string, unknown>>;

const maxClientTextLength = 200;
/** Maximum length in characters of the capabilities in `initialize`, which a session keeps until it ends. */
const maxCapabilitiesLength = 16_384;
/** Maximum number of values in the capabilities; each takes more memory than its text. */
const maxCapabilityValues = 500;
const noMeta: Meta = Object.freeze({});
const nothing: readonly string[] = [];

/**
 * Parses one message from a client and checks JSON-RPC shape, era, envelope, revision, headers and the parameters of
 * `tools/call`, in the order of the reference server. The first check that fails throws `parse-error`,
 * `invalid-request`, `bad-envelope`, `unsupported-version`, `header-mismatch`, `unknown-method` or `invalid-params`.
 */
export function readInbound(text: string, limits: ScanLimits, ctx: WireContext): Inbound {
  const message = parseMessage(text, limits);
  const { kind, values, idText, method, params, outline } = message;
  const era = eraOf(message, ctx);
  const meta = metaOf(message);
  let revision: Revision | null = modernRevision;
  if (era === "legacy") {
    // `initialize` negotiates the revision, so there is none before it.
    if (method === "initialize") revision = null;
    else revision = ctx.headers ? legacyRevision(ctx.headers, ctx.revision) : ctx.revision;
  } else if (kind === "request") checkModern(message, meta, ctx.headers);
  if (kind === "request" && method === "tools/call") checkCall(params);
  const client = method === "initialize" ? params.clientInfo : meta[clientInfoKey];
  return {
    kind,
    era,
    revision,
    text,
    values,
    idText,
    method,
    params,
    spans: outline,
    progressToken: kind === "request" && outline.progressToken ? tokenOf(text, outline.progressToken, era) : null,
    paramHeaders: era === "modern" && ctx.headers && method === "tools/call" ? readParamHeaders(ctx.headers) : null,
    client: isImplementation(client) ? nameOf(client) : null,
    capabilities: capabilitiesOf(message, era, meta),
    logLevel: era === "modern" && kind === "request" ? levelOf(meta) : null,
    answer: kind === "response" ? answerOf(text) : null,
    answersTo: kind === "response" && idText !== null ? [idText] : nothing,
  };
}

function metaOf({ params }: RpcMessage): Meta {
  const meta = params._meta ?? noMeta;
  if (isObject(meta)) return meta;
  throw new Failure("invalid-params", '"params._meta" is not an object.');
}

/** The body decides the era; a header can only contradict it (2026-07-28, versioning). Stdio keeps its first era. */
function eraOf(message: RpcMessage, ctx: WireContext): Era {
  const { kind, method, params } = message;
  const header = versionHeader(ctx.headers);
  const modernPeer = ctx.headers ? header !== null && isModern(header) : ctx.pinned === "modern";
  if (kind === "response") {
    if (modernPeer) throw new Failure("invalid-request", "Clients do not send responses in protocol 2026-07-28.");
    return "legacy";
  }
  if (!ctx.headers && ctx.pinned === "legacy") return "legacy";
  if (method === "initialize" && !isEnvelope(params._meta)) {
    if (!modernPeer) return "legacy";
    throw ctx.headers ? legacyHandshake(String(header)) : unsupported(params.protocolVersion);
  }
  if (isObject(params._meta) && Object.hasOwn(params._meta, protocolVersionKey)) return "modern";
  if (!modernPeer) return "legacy";
  // Only requests need the modern envelope.
  if (kind === "notification") return "modern";
  throw badEnvelope(`"${protocolVersionKey}" is missing`);
}

const isEnvelope = (meta: unknown): boolean =>
  isObject(meta) && typeof meta[protocolVersionKey] === "string" && isObject(meta[clientCapabilitiesKey]);

function checkModern(message: RpcMessage, meta: Meta, headers: Headers | null): void {
  const claimed = meta[protocolVersionKey];
  if (typeof claimed !== "string") throw badEnvelope(`"${protocolVersionKey}" is not a string`);
  if (headers) checkVersionHeader(headers, claimed);
  if (!isObject(meta[clientCapabilitiesKey]))
    throw badEnvelope(`"${clientCapabilitiesKey}" is missing or not an object`);
  const client = meta[clientInfoKey];
  if (client !== undefined && !isImplementation(client)) throw badEnvelope(`"${clientInfoKey}" lacks name or version`);
  if (claimed !== modernRevision) throw unsupported(claimed);
  if (headers) checkStandardHeaders(headers, message);
  if (specOf(message.method)?.eras.includes("modern") === false) {
    throw new Failure("unknown-method", `The method "${message.method}" is not part of protocol ${modernRevision}.`);
  }
}

function checkCall(params: RpcMessage["params"]): void {
  if (typeof params.name !== "string") {
    throw new Failure("invalid-params", '"params.name" is not a string; it must name the tool to call.');
  }
  // Go clients write null for an empty map.
  if (!isObject(params.arguments ?? {})) {
    throw new Failure("invalid-params", '"params.arguments" is not an object; omit it if there are no arguments.');
  }
}

/** Returns the capabilities that a client declares: with `initialize` in the legacy era, else with each request. */
function capabilitiesOf({ kind, method, text, params, outline }: RpcMessage, era: Era, meta: Meta) {
  if (kind !== "request") return null;
  if (era === "modern") return declared(text, outline.capabilities, meta[clientCapabilitiesKey]);
  if (method !== "initialize") return null;
  const span = outline.params && locate(text, outline.params[0], "capabilities");
  const found = declared(text, span, params.capabilities);
  if (found && found.text.length > maxCapabilitiesLength) {
    throw new Failure("invalid-params", `"params.capabilities" is longer than ${maxCapabilitiesLength} characters.`);
  }
  if (found && valuesIn(found.value) > maxCapabilityValues) {
    throw new Failure("invalid-params", `"params.capabilities" holds more than ${maxCapabilityValues} values.`);
  }
  return found && { ...found, text: copied(found.text) };
}

/** Counts a value and all values nested in it. */
function valuesIn(value: unknown): number {
  const parts = typeof value === "object" && value !== null ? Object.values(value) : [];
  return parts.reduce<number>((sum, part) => sum + valuesIn(part), 1);
}

function declared(text: string, span: Span | null, value: unknown): ClientCapabilities | null {
  return span && isObject(value) ? { text: text.slice(span[0], span[1]), value } : null;
}

/** Returns the log level that a modern request sets, or null if it asks for no log messages. */
function levelOf(meta: Meta): LogLevel | null {
  const level = meta[logLevelKey];
  if (level === undefined) return null;
  const known = logLevels.find((one) => one === level);
  if (known) return known;
  throw new Failure("invalid-params", `"${logLevelKey}" must be one of ${logLevels.join(", ")}.`);
}

/** Returns the result or error of a response as the client wrote it. */
function answerOf(text: string): ClientAnswer {
  const result = rawValue(text, 0, "result");
  // Exactly one of the two is an object; a client may write the other as null.
  if (result?.startsWith("{")) return { kind: "result", text: result };
  return { kind: "error", text: rawValue(text, 0, "error") ?? "" };
}

/** Returns a progress token as written: a string or an integer. Older revisions allow any number. */
function tokenOf(text: string, [start, end]: Span, era: Era): string {
  const raw = text.slice(start, end);
  if (isId(raw) || (era === "legacy" && raw.length <= maxIdLength && /^-?\d/.test(raw))) return raw;
  const what = `"progressToken" is neither a string nor an integer of at most ${maxIdLength} characters`;
  throw era === "modern" ? badEnvelope(what) : new Failure("invalid-params", `${what}.`);
}

function isImplementation(value: unknown): value is Implementation {
  return isObject(value) && typeof value.name === "string" && typeof value.version === "string";
}

const nameOf = ({ name, version }: Implementation): Implementation => ({
  name: cut(name, maxClientTextLength),
  version: cut(version, maxClientTextLength),
});

const badEnvelope = (what: string): Failure =>
  new Failure("bad-envelope", `The request's "_meta" is not valid in protocol ${modernRevision}: ${what}.`);

const legacyHandshake = (header: string): Failure =>
  new Failure(
    "header-mismatch",
    `"initialize" belongs to the revisions before ${modernRevision}, but MCP-Protocol-Version says ${plain(cut(header, 40))}.`,
    { data: { header: "MCP-Protocol-Version" } },
  );

function unsupported(requested: unknown): Failure {
  const name = typeof requested === "string" ? plain(cut(requested, 100)) : "unknown";
  return new Failure("unsupported-version", `Protocol revision "${name}" is not supported; use ${modernRevision}.`, {
    data: { supported: [modernRevision], requested: name },
  });
}
