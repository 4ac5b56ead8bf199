import { mark } from "../core/secret.ts";

/** A configured path, split at its dots; `*` stands for any one member or index. */
export type MaskPath = readonly string[];

const masked = JSON.stringify(mark);

/**
 * JSON text with the values at `paths` replaced, everything else character for character as it was. A path also leads
 * into JSON that stands in a string. Also works on a text that was cut off: a value that is to be masked is masked to
 * the end. Linear in the text.
 */
export function maskPaths(text: string, paths: readonly MaskPath[]): string {
  if (paths.length === 0) return text;
  const walker: Walker = { text, at: 0, out: "", copied: 0 };
  const frames: Frame[] = [];
  let live = paths;
  for (;;) {
    skipSpace(walker);
    const open = walker.text[walker.at];
    if (live.some((path) => path.length === 0)) maskValue(walker);
    else if (live.length > 0 && (open === "{" || open === "[")) {
      walker.at += 1;
      frames.push({ object: open === "{", paths: live, index: 0 });
    } else if (live.length > 0 && open === '"') maskInString(walker, live);
    else skipValue(walker);
    const next = nextValue(walker, frames);
    if (next === null) break;
    live = next;
  }
  return walker.out + text.slice(walker.copied);
}

type Walker = { readonly text: string; at: number; out: string; copied: number };
type Frame = { readonly object: boolean; readonly paths: readonly MaskPath[]; index: number };

/** Moves to the next value of the innermost open container; returns what remains of the paths that lead to it. */
function nextValue(walker: Walker, frames: Frame[]): readonly MaskPath[] | null {
  for (let frame = frames.at(-1); frame; frame = frames.at(-1)) {
    skipSpace(walker);
    if (walker.text[walker.at] === ",") {
      walker.at += 1;
      skipSpace(walker);
    }
    const char = walker.text[walker.at];
    if (char === undefined) return null;
    if (char !== "}" && char !== "]") return step(frame, frame.object ? readKey(walker) : String(frame.index++));
    walker.at += 1;
    frames.pop();
  }
  return null;
}

function step(frame: Frame, key: string): readonly MaskPath[] {
  return frame.paths.filter(([first]) => first === "*" || first === key).map((path) => path.slice(1));
}

function readKey(walker: Walker): string {
  const start = walker.at;
  skipString(walker);
  const key = walker.text.slice(start, walker.at);
  skipSpace(walker);
  if (walker.text[walker.at] === ":") walker.at += 1;
  return textOf(key) ?? key;
}

function maskValue(walker: Walker): void {
  walker.out += walker.text.slice(walker.copied, walker.at) + masked;
  skipValue(walker);
  walker.copied = walker.at;
}

/** A string that was cut off may have gone on to what is to be masked, so it is masked as a whole. */
function maskInString(walker: Walker, paths: readonly MaskPath[]): void {
  const start = walker.at;
  skipString(walker);
  const inner = textOf(walker.text.slice(start, walker.at));
  const shown = inner === null ? mark : parsed(inner) === undefined ? inner : maskPaths(inner, paths);
  if (shown === inner) return;
  walker.out += walker.text.slice(walker.copied, start) + JSON.stringify(shown);
  walker.copied = walker.at;
}

/** The text that a JSON string stands for; null where it is none. */
function textOf(literal: string): string | null {
  const value = parsed(literal);
  return typeof value === "string" ? value : null;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function skipSpace(walker: Walker): void {
  while (/\s/.test(walker.text[walker.at] ?? "")) walker.at += 1;
}

function skipString(walker: Walker): void {
  walker.at += 1;
  for (; walker.at < walker.text.length; walker.at += 1) {
    const char = walker.text[walker.at];
    if (char === "\\") walker.at += 1;
    else if (char === '"') break;
  }
  walker.at = Math.min(walker.at + 1, walker.text.length);
}

function skipValue(walker: Walker): void {
  let depth = 0;
  while (walker.at < walker.text.length) {
    const char = walker.text[walker.at];
    if (char === '"') skipString(walker);
    else {
      if (char === "{" || char === "[") depth += 1;
      else if (char === "}" || char === "]") depth -= 1;
      if (depth < 0 || (depth === 0 && char === ",")) return;
      walker.at += 1;
    }
    if (depth === 0 && /[\s,}\]]/.test(walker.text[walker.at] ?? ",")) return;
  }
}
