import type { Span } from "../core/inbound.ts";
import { members } from "./json-text.ts";

/** Prefix of `_meta` keys that belong to one hop: they are removed and set anew on each hop. */
const reserved = "io.modelcontextprotocol/";
export const protocolVersionKey = `${reserved}protocolVersion`;
export const clientCapabilitiesKey = `${reserved}clientCapabilities`;
export const clientInfoKey = `${reserved}clientInfo`;
export const logLevelKey = `${reserved}logLevel`;
export const serverInfoKey = `${reserved}serverInfo`;
/** On messages that follow from a `subscriptions/listen`: the id of that request. */
export const subscriptionIdKey = `${reserved}subscriptionId`;

export type Implementation = { readonly name: string; readonly version: string };

/** The text of a `clientInfo` or `serverInfo` with only its name and version. */
export function implementationText({ name, version }: Implementation): string {
  return `{"name":${JSON.stringify(name)},"version":${JSON.stringify(version)}}`;
}

/**
 * A `_meta` for the next hop: the members of the one at `span` as they were written, without the reserved keys and the
 * key `drop`, then `stamps` (raw members such as `"key":value`). Null if nothing is left.
 */
export function hopMeta(
  text: string,
  span: Span | null,
  drop: string | null,
  stamps: readonly string[],
): string | null {
  const kept: string[] = [];
  for (const { key, start, value } of span ? members(text, span[0]) : []) {
    if (!key.startsWith(reserved) && key !== drop) kept.push(text.slice(start, value[1]));
  }
  return kept.length + stamps.length === 0 ? null : `{${[...kept, ...stamps].join(",")}}`;
}
