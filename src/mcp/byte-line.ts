import { decodeUtf8 } from "./utf8.ts";

const initial = 4096;
const kept = 65_536;

/**
 * The start of an unfinished line, kept as bytes because a chunk may end within a character. The buffer doubles as it
 * grows, so a line costs linear time and memory however it is split. Chunks are copied, so the caller may reuse them.
 */
export class ByteLine {
  #buffer = new Uint8Array(initial);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  append(bytes: Uint8Array): void {
    const size = this.#size + bytes.length;
    if (size > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#buffer.length * 2, size));
      larger.set(this.#buffer.subarray(0, this.#size));
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#size);
    this.#size = size;
  }

  /** Returns the whole line, which ends with `last`, as text (see `decodeUtf8`), and clears it. */
  take(last: Uint8Array): string {
    if (this.#size === 0) return decodeUtf8(last);
    this.append(last);
    const text = decodeUtf8(this.#buffer.subarray(0, this.#size));
    this.clear();
    return text;
  }

  clear(): void {
    this.#size = 0;
    if (this.#buffer.length > kept) this.#buffer = new Uint8Array(initial);
  }
}
