import { Failure } from "../core/failure.ts";
import { cut, plain } from "../core/text.ts";
import {
  closeArray,
  closeObject,
  colon,
  comma,
  decodeKey,
  literalEnd,
  openArray,
  openObject,
  quote,
  stringEnd,
} from "./json-text.ts";

/** The maximum nesting depth and number of values of a message. */
export type ScanLimits = { readonly depth: number; readonly nodes: number };

/**
 * Maximum nesting depth of a server's own description and definitions. They are up to three levels below the top of a
 * message, and official clients refuse a whole message of more than 64 (C#), 128 (Rust) or 200 levels (Python).
 */
export const maxDefinitionDepth = 60;

/** The failure of a text that exceeds a limit or is ambiguous. */
export class Unscannable extends Failure {
  /** What is wrong, without the advice to the caller. */
  readonly what: string;
  /** The exceeded limit; null if the text is ambiguous. */
  readonly limit: string | null;

  constructor(what: string, remedy: string, limit: string | null = null) {
    super("invalid-request", `${what}; ${remedy}.`);
    this.what = what;
    this.limit = limit;
  }
}

/** Maximum length of a number in characters, since converting it blocks the event loop. */
const maxNumberLength = 4096;
/** Up to this number, keys are compared in pairs, which allocates nothing; a larger object gets a set. */
const maxKeysInPairs = 8;
/** Maximum number of keys of one object: a key costs more than an array element. */
const maxObjectKeys = 10_000;

// The keys of all objects that are open at this point of a scan. Scans are synchronous and never nest, so they share
// these arrays, and a message costs no allocation.
const keyStarts: number[] = [];
const keyEnds: number[] = [];
const firstKeys: number[] = [];
const keySets = new Map<number, Set<string>>();
let keyCount = 0;

/**
 * Returns the number of values in a text. Throws if it nests too deep, has too many values or repeats a key in an
 * object (escapes decoded). Runs before JSON.parse, whose work is unbounded; invalid JSON may pass and fails there.
 */
export function scan(text: string, limits: ScanLimits): number {
  const escapes = text.includes("\\");
  let depth = 0;
  let nodes = 0;
  let key = false;
  keyCount = 0;
  keySets.clear();
  firstKeys[0] = -1;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === quote) {
      const end = stringEnd(text, i);
      if (end < 0) return nodes;
      if (key) noteKey(text, i + 1, end - 1, depth, escapes);
      else nodes++;
      key = false;
      i = end - 1;
    } else if (c === comma) {
      key = (firstKeys[depth] ?? -1) >= 0;
    } else if (c === openObject || c === openArray) {
      if (++depth > limits.depth) throw tooDeep(limits.depth);
      nodes++;
      key = c === openObject;
      firstKeys[depth] = key ? keyCount : -1;
      if (keySets.size > 0) keySets.delete(depth);
    } else if (c === closeObject || c === closeArray) {
      if (depth === 0) return nodes;
      if (c === closeObject) keyCount = firstKeys[depth] ?? 0;
      depth--;
      key = false;
    } else if (c > 32 && c !== colon) {
      const end = literalEnd(text, i, Math.min(text.length, i + maxNumberLength + 1));
      if (end - i > maxNumberLength) throw tooLong();
      nodes++;
      i = end - 1;
    }
    if (nodes > limits.nodes) throw tooMany(limits.nodes);
  }
  return nodes;
}

/** Records a key of the innermost open object; throws if the object already has it. */
function noteKey(text: string, start: number, end: number, depth: number, escapes: boolean): void {
  const escaped = escapes && text.slice(start, end).includes("\\");
  const first = firstKeys[depth] ?? 0;
  let set = keySets.size > 0 ? keySets.get(depth) : undefined;
  if (!set && !escaped && keyCount - first < maxKeysInPairs) {
    for (let i = first; i < keyCount; i++) {
      if (sameText(text, keyStarts[i] ?? 0, keyEnds[i] ?? 0, start, end)) throw twice(text.slice(start, end));
    }
    keyStarts[keyCount] = start;
    keyEnds[keyCount++] = end;
    return;
  }
  if (!set) {
    set = new Set();
    for (let i = first; i < keyCount; i++) set.add(text.slice(keyStarts[i], keyEnds[i]));
    keySets.set(depth, set);
  }
  const name = escaped ? decodeKey(text, start, end) : text.slice(start, end);
  if (name === null) return;
  if (set.size === set.add(name).size) throw twice(name);
  if (set.size > maxObjectKeys) throw tooWide();
}

function sameText(text: string, a: number, aEnd: number, b: number, bEnd: number): boolean {
  if (aEnd - a !== bEnd - b) return false;
  while (a < aEnd) if (text.charCodeAt(a++) !== text.charCodeAt(b++)) return false;
  return true;
}

const tooDeep = (depth: number): Failure =>
  new Unscannable(`The message is nested deeper than ${depth} levels`, "flatten it", "limits.depth");

const tooMany = (nodes: number): Failure =>
  new Unscannable(`The message holds more than ${nodes} values`, "send less at once", "limits.nodes");

const tooLong = (): Failure =>
  new Unscannable(`A number in the message has more than ${maxNumberLength} digits`, "send it as a string");

const tooWide = (): Failure =>
  new Unscannable(
    `An object in the message has more than ${maxObjectKeys} keys`,
    "send an array instead",
    "a fixed limit",
  );

const twice = (key: string): Failure =>
  new Unscannable(`The key "${plain(cut(key, 100))}" appears twice in one object`, "send it once");
