import type { Span } from "../core/inbound.ts";
import { closeObject, type Cursor, cursorAt, endOf, isKey, next, openObject, skipSpace } from "./json-text.ts";
import { clientCapabilitiesKey } from "./meta.ts";

/** The positions of the parts of a message that are used as written. Null parts count as absent, except the id. */
export type Outline = {
  id: Span | null;
  params: Span | null;
  arguments: Span | null;
  progressToken: Span | null;
  /** The client capabilities that a modern request declares. */
  capabilities: Span | null;
};

/** Finds the positions in one pass over the text of a JSON object. */
export function outline(text: string): Outline {
  const found: Outline = { id: null, params: null, arguments: null, progressToken: null, capabilities: null };
  const root = cursorAt(skipSpace(text, 0));
  while (next(text, root)) {
    if (isKey(text, root, "id")) found.id = [root.value, endOf(text, root)];
    else if (isKey(text, root, "params")) {
      if (text.charCodeAt(root.value) === openObject) root.end = params(text, root.value, found);
      found.params = span(text, root);
    }
  }
  return found;
}

function params(text: string, at: number, found: Outline): number {
  const cursor = cursorAt(at);
  while (next(text, cursor)) {
    if (isKey(text, cursor, "arguments")) found.arguments = span(text, cursor);
    else if (isKey(text, cursor, "_meta") && text.charCodeAt(cursor.value) === openObject) {
      cursor.end = meta(text, cursor.value, found);
    }
  }
  return objectEnd(text, cursor);
}

function meta(text: string, at: number, found: Outline): number {
  const cursor = cursorAt(at);
  while (next(text, cursor)) {
    if (isKey(text, cursor, "progressToken")) found.progressToken = span(text, cursor);
    else if (isKey(text, cursor, clientCapabilitiesKey)) found.capabilities = span(text, cursor);
  }
  return objectEnd(text, cursor);
}

const span = (text: string, cursor: Cursor): Span | null =>
  text.startsWith("null", cursor.value) ? null : [cursor.value, endOf(text, cursor)];

/** Returns the index after the object whose last member is at the cursor. */
function objectEnd(text: string, cursor: Cursor): number {
  const at = skipSpace(text, cursor.key < 0 ? cursor.end + 1 : endOf(text, cursor));
  return text.charCodeAt(at) === closeObject ? at + 1 : -1;
}
