import type { Span } from "../core/inbound.ts";
import type { Edits } from "../mcp/edit.ts";
import { locate, mayHold, rawValue, stringAt } from "../mcp/json-text.ts";

/** The URI on the wire for a server's own URI; null if it is the same. */
export type Rewrite = (uri: string) => string | null;

/** The URI of the app that shows a tool's results, as its server wrote it; null if there is none. */
export function appUri(text: string): string | null {
  if (!mayHold(text, "resourceUri")) return null;
  const meta = rawValue(text, 0, "_meta") ?? "";
  const [span] = appSpans(meta);
  return span ? stringAt(meta, span) : null;
}

/** Edits the `_meta` of a tool or result: rewrites the URI of its app. No edits if the URI stays. */
export function metaEdit(meta: string, rewrite: Rewrite): Edits {
  let edited = meta;
  // From last to first, so that the earlier positions stay valid.
  for (const span of appSpans(meta).toReversed()) {
    const uri = stringAt(meta, span);
    const wire = uri === null ? null : rewrite(uri);
    if (wire !== null) edited = edited.slice(0, span[0]) + JSON.stringify(wire) + edited.slice(span[1]);
  }
  return edited === meta ? {} : { _meta: edited };
}

/**
 * The positions where a `_meta` names its app, in the order of the text: under the present key and under the older one.
 */
function appSpans(meta: string): Span[] {
  if (!mayHold(meta, "resourceUri")) return [];
  const ui = locate(meta, 0, "ui");
  const inner = ui && locate(meta, ui[0], "resourceUri");
  const found = [inner, locate(meta, 0, "ui/resourceUri")].filter((span) => span !== null);
  return found.toSorted(([a], [b]) => a - b);
}
