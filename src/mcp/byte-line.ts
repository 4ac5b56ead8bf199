import { decodeUtf8 } from "./utf8.ts";

const initial = 4096;
const kept = 65_536;

/**
 * The beginning of an unfinished line, in bytes, since a chunk may end within a character. It grows by doubling, so
 * that a line costs linear time and memory however it is split. It copies, so that a chunk may be reused.
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

  /** The whole line with these last bytes, as text (see `decodeUtf8`). Afterwards the line is empty. */
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
