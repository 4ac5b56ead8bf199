import type { Span } from "../core/inbound.ts";
import { editObject } from "./edit.ts";
import { closeArray, comma, locate, openArray, skipSpace, valueEnd } from "./json-text.ts";

/** The result of `resources/read` with the URI on the wire where the server has its own; all else as it was written. */
export function withResourceUri(result: string, own: string, wire: string): string {
  const contents = locate(result, 0, "contents");
  if (!contents || result.charCodeAt(contents[0]) !== openArray) return result;
  let text = result.slice(0, contents[0]);
  let from = contents[0];
  for (const [start, end] of elements(result, contents[0])) {
    text += result.slice(from, start) + renamed(result.slice(start, end), own, wire);
    from = end;
  }
  return text + result.slice(from);
}

function renamed(content: string, own: string, wire: string): string {
  const uri = locate(content, 0, "uri");
  if (!uri || content.charCodeAt(uri[0]) !== 34 || JSON.parse(content.slice(...uri)) !== own) return content;
  return editObject(content, { uri: JSON.stringify(wire) });
}

/** Where the elements of the array at `at` lie. */
function elements(text: string, at: number): Span[] {
  const found: Span[] = [];
  let i = skipSpace(text, at + 1);
  while (i < text.length && text.charCodeAt(i) !== closeArray) {
    const end = valueEnd(text, i);
    if (end < 0) break;
    found.push([i, end]);
    i = skipSpace(text, end);
    if (text.charCodeAt(i) === comma) i = skipSpace(text, i + 1);
  }
  return found;
}
