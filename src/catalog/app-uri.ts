import type { Span } from "../core/inbound.ts";
import type { Edits } from "../mcp/edit.ts";
import { locate, mayHold, rawValue, stringAt } from "../mcp/json-text.ts";

/** Maps a server's own URI to the URI on the wire; returns null if both are the same. */
export type Rewrite = (uri: string) => string | null;

/** Returns the URI of the app that shows a tool's results, as its server wrote it, or null if there is none. */
export function appUri(text: string): string | null {
  if (!mayHold(text, "resourceUri")) return null;
  const meta = rawValue(text, 0, "_meta") ?? "";
  const [span] = appSpans(meta);
  return span ? stringAt(meta, span) : null;
}

/** Returns the edits that rewrite the app URI in the `_meta` of a tool or result; none if the URI stays the same. */
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

/** Returns the positions of the app's URI in a `_meta`, in text order: under the current key and the older one. */
function appSpans(meta: string): Span[] {
  if (!mayHold(meta, "resourceUri")) return [];
  const ui = locate(meta, 0, "ui");
  const inner = ui && locate(meta, ui[0], "resourceUri");
  const found = [inner, locate(meta, 0, "ui/resourceUri")].filter((span) => span !== null);
  return found.toSorted(([a], [b]) => a - b);
}
