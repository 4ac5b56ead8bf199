// Generates JSON text that parsers and printers tend to change; the same seed generates the same text.

const numbers = ["0", "-0", "1.0", "1.10", "1e400", "-1e-400", "12345678901234567890", "9007199254740993", "0.1e+2"];
const strings =
  '"" "\\u0000" "\\ud800" "\\udc00\\ud800" "\\ud83d\\ude00" "😀" "\\/\\"\\\\" "\\\\ud800" "é\\u00e9" "data:x\\n\\n" "]}" "\u2028"'
    .split(" ")
    .concat('"\ufeff"', `"${"x".repeat(300)}"`);
const keys =
  '"__proto__" "constructor" "" "\\u0000" "é" "\\u00e9x" "jsonrpc" "id" "method" "result" "error" "params" "x.y" "0" "\\ud83d\\ude00"'
    .split(" ")
    .concat('"then"', '"toString"', '"length"');
const spaces = ["", "", "", " ", "\t", "  "];

export class OddJson {
  #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Returns a whole number below `n`. */
  below(n: number): number {
    this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.#seed / 2 ** 32) * n);
  }

  one<T>(of: readonly [T, ...T[]] | readonly T[]): T {
    return of[this.below(of.length)] as T; // an index of the list
  }

  string(): string {
    return this.one(strings);
  }

  value(depth = 3): string {
    const kind = this.below(depth > 0 ? 6 : 4);
    if (kind === 0) return this.one(numbers);
    if (kind < 3) return this.string();
    if (kind === 3) return this.one(["true", "false", "null"]);
    if (kind === 5) return this.object([], depth - 1);
    return `[${Array.from({ length: this.below(4) }, () => this.#space() + this.value(depth - 1)).join(",")}]`;
  }

  /** Returns an object with these members (raw JSON) and up to three unknown ones. */
  object(members: readonly string[], depth = 3): string {
    const odd = new Set(Array.from({ length: this.below(4) }, () => this.one(keys)));
    const all = [...members, ...[...odd].map((key) => `${key}${this.#space()}:${this.#space()}${this.value(depth)}`)];
    return `{${all.map((member) => this.#space() + member + this.#space()).join(",")}}`;
  }

  /** Returns these bytes in pieces. */
  pieces(bytes: Uint8Array): Uint8Array[] {
    const cuts = Array.from({ length: this.below(5) }, () => this.below(bytes.length)).toSorted((a, b) => a - b);
    return [...cuts, bytes.length].map((end, at) => bytes.subarray(cuts[at - 1] ?? 0, end));
  }

  #space(): string {
    return this.one(spaces);
  }
}

/** Returns the members of an object by name, as written, with a parser independent of the one under test. */
export function membersOf(text: string): Map<string, string> {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/gs)) {
    if (token === "}" || token === "]") depth--;
    if (depth === 0 || (depth === 1 && (token === "," || token === ":"))) {
      parts.push(text.slice(from, index).trim());
      from = index + 1;
    }
    if (token === "{" || token === "[") depth++;
    if (depth === 1 && from === 0) from = index + 1;
  }
  const found = new Map<string, string>();
  for (let at = 1; at + 1 < parts.length; at += 2) found.set(String(JSON.parse(parts[at] ?? "")), parts[at + 1] ?? "");
  return found;
}
