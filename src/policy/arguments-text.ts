import type { Span } from "../core/inbound.ts";
import { elements, locate, openArray } from "../mcp/json-text.ts";

/**
 * The JSON text from which arguments were parsed, starting at `at`. The server gets this text, but parsing here may
 * round a number, so a limit that holds here may not hold for the number that the server reads.
 */
export class ArgumentsText {
  readonly #text: string;
  readonly #at: number;
  /** Results by path, because many rules test the same path and the text may be long. */
  #known: Map<string, boolean> | null = null;

  constructor(text: string, at: number) {
    this.#text = text;
    this.#at = at;
  }

  /** Reports whether the text at a path denotes exactly this number, without rounding. */
  means(value: number, path: string): boolean {
    const known = (this.#known ??= new Map<string, boolean>());
    let same = known.get(path);
    if (same === undefined) known.set(path, (same = this.#compare(value, path)));
    return same;
  }

  #compare(value: number, path: string): boolean {
    const text = this.#text;
    let span: Span | null | undefined = [this.#at, this.#at];
    for (const key of path.split(".")) {
      const [start]: Span = span;
      span = text.charCodeAt(start) === openArray ? elements(text, start)[Number(key)] : locate(text, start, key);
      if (!span) return false;
    }
    const written = text.slice(...span);
    return written === String(value) || canonicalNumber(written) === canonicalNumber(String(value));
  }
}

const form = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/** Returns the canonical form of a number's text: its digits without leading or trailing zeros, and a power of ten. */
function canonicalNumber(text: string): string {
  const [, sign = "", whole = "", fraction = "", power = "0"] = form.exec(text) ?? [];
  const digits = whole + fraction;
  let first = 0;
  let end = digits.length;
  while (digits[first] === "0") first++;
  while (end > first && digits[end - 1] === "0") end--;
  if (first === end) return "0";
  return `${sign}${digits.slice(first, end)}e${Number(power) - fraction.length + digits.length - end}`;
}
