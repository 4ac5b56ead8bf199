import type { Span } from "../core/inbound.ts";
import { memoize } from "../core/memoize.ts";
import { foldCase } from "../core/text.ts";
import { type Edits, editObject } from "./edit.ts";
import { locate, mayHold, members, openObject } from "./json-text.ts";

/** Prefix of `_meta` keys that belong to one hop: each hop removes them and sets its own. */
const reserved = "io.modelcontextprotocol/";
const reservedFolded = foldCase(reserved);
const ownDomain = "mcpgw.dev";
/** Prefix of the `_meta` keys that the gateway itself adds for clients. */
const own = `${ownDomain}/`;
export const protocolVersionKey = `${reserved}protocolVersion`;
export const clientCapabilitiesKey = `${reserved}clientCapabilities`;
export const clientInfoKey = `${reserved}clientInfo`;
export const logLevelKey = `${reserved}logLevel`;
export const serverInfoKey = `${reserved}serverInfo`;
/** Set on messages that belong to a `subscriptions/listen`: the id of that request. */
export const subscriptionIdKey = `${reserved}subscriptionId`;

/** Set in the result of a call that a limit refused: which limit, and when to retry. */
export const limitKey = `${own}limit`;
/** Set in a list: what is missing from it, and why. */
export const omittedKey = `${own}omitted`;

export type Implementation = { readonly name: string; readonly version: string };

/** Returns a `clientInfo` or `serverInfo` with only name and version as JSON; memoized, since each message has one. */
export const implementationText: (of: Implementation) => string = memoize(({ name, version }) =>
  JSON.stringify({ name, version }),
);

/**
 * Returns the `_meta` for the next hop: the members at `span` as written, without the reserved keys and the key `drop`
 * (ignoring case), then `stamps` (raw members such as `"key":value`). Null if nothing is left.
 */
export function hopMeta(
  text: string,
  span: Span | null,
  drop: string | null,
  stamps: readonly string[],
): string | null {
  const kept: string[] = [];
  const dropped = drop && foldCase(drop);
  for (const { key, start, value } of span ? members(text, span[0]) : []) {
    const folded = foldCase(key);
    if (!folded.startsWith(reservedFolded) && folded !== dropped) kept.push(text.slice(start, value[1]));
  }
  return kept.length + stamps.length === 0 ? null : `{${[...kept, ...stamps].join(",")}}`;
}

/** Returns params or an answer for the next hop, with `edits` applied and its `_meta` rewritten by `hopMeta`. */
export function forNextHop(
  text: string,
  drop: string | null,
  stamps: readonly string[] = [],
  edits: Edits = {},
): string {
  const meta = locate(text, 0, "_meta");
  // Most texts have no `_meta`, and they may be long.
  if (!meta && stamps.length === 0 && Object.keys(edits).length === 0) return text;
  return editObject(text, { ...edits, _meta: hopMeta(text, meta, drop, stamps) });
}

/** Removes the `_meta` keys that only the gateway sets from a server's result, or from the task that contains it. */
export function withoutOwnKeys(result: string): string {
  if (!mayHold(result, ownDomain)) return result;
  const meta = locate(result, 0, "_meta");
  const inner = locate(result, 0, "result");
  const forged = meta ? members(result, meta[0]).filter(({ key }) => key.startsWith(own)) : [];
  const gone = Object.fromEntries(forged.map(({ key }) => [key, null]));
  const edits = {
    ...(meta && forged.length > 0 && { _meta: editObject(result.slice(...meta), gone) }),
    ...(inner && result.charCodeAt(inner[0]) === openObject && { result: withoutOwnKeys(result.slice(...inner)) }),
  };
  return editObject(result, edits);
}
