import { canonical, canonicalString } from "../core/canonical.ts";

const quote = 34;
const backslash = 92;
const zero = 48;
/** Larger integers are rare and spelled by the general code. */
const longest = 1e15;

/**
 * A growing buffer of UTF-8 that holds one text after the other. Plain ASCII strings and small integers, which nearly
 * all are, are written byte by byte: each would otherwise cost a string and a call.
 */
export class Bytes {
  #bytes: Buffer;
  #start = 0;
  #end = 0;

  constructor(size: number) {
    this.#bytes = Buffer.alloc(size);
  }

  /** Forgets everything: what was written before may be overwritten. */
  reset(): void {
    this.#start = this.#end = 0;
  }

  begin(first: number): void {
    this.#start = this.#end;
    this.#reserve(1);
    this.#bytes[this.#end++] = first;
  }

  taken(): Buffer {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  /** A part of other bytes. */
  put(from: Buffer, start: number, end: number): void {
    this.#reserve(end - start);
    this.#end += from.copy(this.#bytes, this.#end, start, end);
  }

  /** A JSON string as RFC 8785 spells it. */
  putString(text: string): void {
    this.#reserve(2 + text.length);
    const bytes = this.#bytes;
    let at = this.#end;
    bytes[at++] = quote;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c < 32 || c > 126 || c === quote || c === backslash) return this.#putText(canonicalString(text));
      bytes[at++] = c;
    }
    bytes[at++] = quote;
    this.#end = at;
  }

  /** Throws TypeError on a number that is not a safe integer. */
  putInteger(value: number): void {
    if (!(value >= 0 && value < longest) || !Number.isInteger(value)) return this.#putText(canonical(value));
    let digits = 1;
    for (let power = 10; power <= value; power *= 10) digits++;
    this.#reserve(digits);
    this.#end += digits;
    let rest = value;
    for (let at = this.#end - 1; digits > 0; digits--) {
      const tens = Math.floor(rest / 10);
      this.#bytes[at--] = zero + rest - tens * 10;
      rest = tens;
    }
  }

  #putText(text: string): void {
    this.#reserve(3 * text.length);
    this.#end += this.#bytes.write(text, this.#end);
  }

  /** Makes room for that many more bytes. If the current text no longer fits, it moves to a larger buffer. */
  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#bytes.length) return;
    const larger = Buffer.alloc(2 * (this.#bytes.length + bytes));
    this.#bytes.copy(larger, 0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    this.#bytes = larger;
  }
}
