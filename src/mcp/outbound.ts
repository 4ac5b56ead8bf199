import { Withdrawn } from "../core/cancel.ts";
import { foldCase } from "../core/text.ts";
import type { Era, Inbound, LogLevel, Revision, Span } from "../core/inbound.ts";
import { cursorAt, decodeKey, endOf, next, skipSpace } from "./json-text.ts";
import {
  clientCapabilitiesKey,
  clientInfoKey,
  hopMeta,
  type Implementation,
  implementationText,
  logLevelKey,
  protocolVersionKey,
} from "./meta.ts";

/** The properties of an upstream and of a call that determine the call's parameters. */
type CallTarget = {
  /** Members that replace those of the caller: raw JSON, or null to omit the member. */
  readonly edits: Readonly<Record<string, string | null>>;
  readonly era: Era;
  readonly revision: Revision;
  /** The gateway's token as raw JSON; null if the caller asked for no progress. */
  readonly progressToken: string | null;
  /** The gateway's own `clientInfo`. */
  readonly client: Implementation;
  /** The capabilities that the gateway declares to the server, as raw JSON. */
  readonly capabilities: string;
  /** The lowest severity of log messages that the caller wants; null for none. */
  readonly logLevel: LogLevel | null;
};

/** Returns a JSON-RPC request; `params` is raw JSON. */
export function requestText(id: string | number, method: string, params: string | null): string {
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"method":${JSON.stringify(method)}${paramsMember(params)}}`;
}

/** Returns a JSON-RPC notification; `params` is raw JSON. */
export function notificationText(method: string, params: string | null): string {
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)}${paramsMember(params)}}`;
}

/**
 * Returns the parameters of `notifications/cancelled`. `reason` is that of the signal that ended the request; if it
 * carries no reason given by the peer that withdrew the request, `own` is sent.
 */
export function cancelledParams(idText: string, reason: unknown, own: string): string {
  const said = reason instanceof Withdrawn ? reason.said : null;
  return `{"requestId":${idText},"reason":${JSON.stringify(said ?? own)}}`;
}

const paramsMember = (params: string | null): string => (params === null ? "" : `,"params":${params}`);

/** Members that the gateway reads or writes itself. */
const understood = ["arguments", "_meta"].map(foldCase);
/**
 * Members never copied from the caller: `task`, for tasks before 2026-07-28, which are not offered, and those of input
 * rounds, which only an edit sends and only to modern servers.
 */
const neverCopied = ["task", "inputResponses", "requestState"].map(foldCase);

/**
 * Returns the parameters of a call for its upstream: names as the server knows them, and `_meta` with the gateway's
 * reserved keys instead of the caller's, since these belong to one hop. All other members stay as written.
 */
export function callParams(inbound: Inbound, to: CallTarget): string {
  const { text, spans } = inbound;
  let parts = "";
  for (const key in to.edits) {
    const value = to.edits[key] ?? null;
    if (value !== null && (to.era === "modern" || !neverCopied.includes(foldCase(key)))) parts += `,"${key}":${value}`;
  }
  let meta: Span | null = null;
  const cursor = cursorAt(spans.params ? skipSpace(text, spans.params[0]) : text.length);
  while (next(text, cursor)) {
    const end = endOf(text, cursor);
    const key = decodeKey(text, cursor.key + 1, cursor.keyEnd - 1);
    if (end < 0 || key === null) break;
    if (key === "_meta") meta = [cursor.value, end];
    else if (key === "arguments" || !isOurs(key, to.edits)) parts += `,${text.slice(cursor.key, end)}`;
  }
  const hop =
    meta || to.era === "modern" || to.progressToken !== null ? hopMeta(text, meta, "progressToken", stamps(to)) : null;
  if (hop !== null) parts += `,"_meta":${hop}`;
  return `{${parts.slice(1)}}`;
}

/** Whether the gateway decides on a key. Ignores case, since a server may read `Name` or `ARGUMENTS` as the key. */
function isOurs(key: string, edits: CallTarget["edits"]): boolean {
  const folded = foldCase(key);
  if (understood.includes(folded) || neverCopied.includes(folded)) return true;
  for (const each in edits) if (each.length === key.length && foldCase(each) === folded) return true;
  return false;
}

function stamps({ era, revision, progressToken, client, capabilities, logLevel }: CallTarget): string[] {
  const members: string[] = [];
  if (progressToken !== null) members.push(`"progressToken":${progressToken}`);
  if (era === "legacy") return members;
  members.push(`"${protocolVersionKey}":"${revision}"`, `"${clientInfoKey}":${implementationText(client)}`);
  members.push(`"${clientCapabilitiesKey}":${capabilities}`);
  if (logLevel !== null) members.push(`"${logLevelKey}":${JSON.stringify(logLevel)}`);
  return members;
}
