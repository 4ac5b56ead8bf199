import type { Era, Inbound, Revision, Span } from "../core/inbound.ts";
import {
  clientCapabilitiesKey,
  clientInfoKey,
  hopMeta,
  type Implementation,
  implementationText,
  protocolVersionKey,
} from "./meta.ts";
import { members } from "./scan.ts";

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

const logLevelKey = "io.modelcontextprotocol/logLevel";

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
const neverCopied = ["task", "inputresponses", "requeststate"];

/**
 * The parameters of a call for its upstream: what it names by the name it has there, `_meta` without the caller's reserved keys and with
 * ours (they belong to one hop), every other member as the caller wrote it.
 */
export function callParams(inbound: Inbound, to: CallTarget): string {
  const { text, spans } = inbound;
  const parts: string[] = [];
  for (const [key, value] of Object.entries(to.edits)) {
    if (value !== null && (to.era === "modern" || !neverCopied.includes(key.toLowerCase())))
      parts.push(`"${key}":${value}`);
  }
  let meta: Span | null = null;
  for (const { key, start, value } of spans.params ? members(text, spans.params[0]) : []) {
    if (key === "_meta") meta = value;
    else if (key === "arguments" || !isOurs(key, to.edits)) parts.push(text.slice(start, value[1]));
  }
  const hop = hopMeta(text, meta, "progressToken", stamps(to));
  if (hop !== null) parts.push(`"_meta":${hop}`);
  return `{${parts.join(",")}}`;
}

/** Also true for `Name`, `ARGUMENTS` …: a server that ignores case would take them for what was decided upon. */
function isOurs(key: string, edits: CallTarget["edits"]): boolean {
  const plain = key.toLowerCase();
  if (understood.includes(plain) || neverCopied.includes(plain)) return true;
  return Object.keys(edits).some((each) => each.toLowerCase() === plain);
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
