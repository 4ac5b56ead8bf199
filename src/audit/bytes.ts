import { canonical, canonicalString } from "../core/canonical.ts";

const quote = 34;
const backslash = 92;
const zero = 48;
/** Larger integers are rare and take the general path. */
const longest = 1e15;

/**
 * A growing UTF-8 buffer that holds one text after another. Plain ASCII strings and small integers, nearly all values,
 * are written byte by byte: anything else would cost a string and a call for each.
 */
export class Bytes {
  #bytes: Buffer;
  #start = 0;
  #end = 0;

  constructor(size: number) {
    this.#bytes = Buffer.alloc(size);
  }

  /** Discards everything; what was written before may be overwritten. */
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

  put(from: Buffer, start: number, end: number): void {
    this.#reserve(end - start);
    this.#end += from.copy(this.#bytes, this.#end, start, end);
  }

  /** Writes a JSON string in the form of RFC 8785. */
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

  /** Writes an integer; throws TypeError if the number is not a safe integer. */
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

  /** Makes room for `bytes` more bytes, moving the current text to a larger buffer if it no longer fits. */
  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#bytes.length) return;
    const larger = Buffer.alloc(2 * (this.#bytes.length + bytes));
    this.#bytes.copy(larger, 0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    this.#bytes = larger;
  }
}
