import { foldCase } from "../core/text.ts";
import { comma, type Member, members, skipSpace } from "./json-text.ts";

/** The new value of each key as raw JSON; null removes the member. */
export type Edits = Readonly<Record<string, string | null>>;

/**
 * Replaces, removes or appends top-level members of a JSON object. All other text is unchanged, so numbers keep their
 * spelling. `text` must be a valid JSON object.
 */
export function editObject(text: string, edits: Edits): string {
  return Object.keys(edits).length === 0 ? text : editMembers(text, members(text), edits);
}

/**
 * Edits text from a client like `editObject`, and also removes members whose keys differ from an edited key only in
 * case, because a server that ignores case would use them in its place.
 */
export function overrideMembers(text: string, edits: Edits): string {
  const found = members(text);
  const edited = new Set(Object.keys(edits).map(foldCase));
  const posing = found.filter(({ key }) => !Object.hasOwn(edits, key) && edited.has(foldCase(key)));
  return editMembers(text, found, { ...Object.fromEntries(posing.map(({ key }) => [key, null])), ...edits });
}

/** Edits like `editObject`, for a text whose members are already known. */
export function editMembers(text: string, found: readonly Member[], edits: Edits): string {
  const added = new Set(Object.keys(edits));
  if (added.size === 0) return text;
  const open = skipSpace(text, 0);
  const pieces: string[] = [];
  let from = open + 1;
  for (const { key, value } of found) {
    const [start, end] = value;
    const edit = Object.hasOwn(edits, key) ? edits[key] : undefined;
    added.delete(key);
    const stop = skipSpace(text, end);
    // Each member keeps the whitespace around it.
    if (edit === undefined) pieces.push(text.slice(from, stop));
    else if (edit !== null) pieces.push(text.slice(from, start) + edit + text.slice(end, stop));
    from = text.charCodeAt(stop) === comma ? stop + 1 : stop;
  }
  for (const key of added) {
    const value = edits[key] ?? null;
    if (value !== null) pieces.push(`${JSON.stringify(key)}:${value}`);
  }
  return text.slice(0, open + 1) + pieces.join(",") + text.slice(from);
}
