import type { Era, Inbound, Revision, Span } from "../core/inbound.ts";
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

/** Where a call goes, as far as its parameters depend on it. */
export type CallTarget = {
  /** Members that are not sent as the caller wrote them: raw JSON, null to leave one out. */
  readonly edits: Readonly<Record<string, string | null>>;
  readonly era: Era;
  readonly revision: Revision;
  /** Our token as raw JSON, null when the caller asked for no progress. */
  readonly progressToken: string | null;
  /** Ourselves, as a client. */
  readonly client: Implementation;
  /** What we declare to the server, as raw JSON. */
  readonly capabilities: string;
  /** The least severe log messages that the caller wants, null for none. */
  readonly logLevel: string | null;
};

/** The text of a request to an upstream; `params` is raw JSON. */
export function requestText(id: string | number, method: string, params: string | null): string {
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"method":${JSON.stringify(method)}${paramsMember(params)}}`;
}

/** The text of a notification to an upstream; `params` is raw JSON. */
export function notificationText(method: string, params: string | null): string {
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)}${paramsMember(params)}}`;
}

const paramsMember = (params: string | null): string => (params === null ? "" : `,"params":${params}`);

/** What a call's parameters are read by here. */
const understood = ["arguments", "_meta"];
/** Of tasks before 2026-07-28, which are not offered to callers, and of input rounds, which an edit passes on to modern servers. */
const neverCopied = ["task", "inputResponses", "requestState"];

/**
 * The parameters of a call for its upstream: what it names by the name it has there, `_meta` without the caller's reserved keys and with
 * ours (they belong to one hop), every other member as the caller wrote it.
 */
export function callParams(inbound: Inbound, to: CallTarget): string {
  const { text, spans } = inbound;
  let parts = "";
  for (const key in to.edits) {
    const value = to.edits[key] ?? null;
    if (value !== null && (to.era === "modern" || !neverCopied.includes(key))) parts += `,"${key}":${value}`;
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

/** Also true for `Name`, `ARGUMENTS` …: a server that ignores case would take them for what was decided upon. */
function isOurs(key: string, edits: CallTarget["edits"]): boolean {
  const plain = key.toLowerCase();
  return (
    Object.hasOwn(edits, plain) || Object.hasOwn(edits, key) || understood.includes(plain) || neverCopied.includes(key)
  );
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
