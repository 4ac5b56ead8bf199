import { decodeUtf8 } from "./utf8.ts";

const initial = 4096;
const kept = 65_536;

/**
 * The beginning of an unfinished line, in bytes, since a chunk may end within a character. It grows by doubling, so
 * that a line costs linear time and memory however it is split. It copies, so that a chunk may be reused.
 */
export type ByteLine = {
  /** Bytes held. */
  size(): number;
  append(bytes: Uint8Array): void;
  /** The whole line with these last bytes, as text (see `decodeUtf8`). Afterwards the line is empty. */
  take(last: Uint8Array): string;
  clear(): void;
};

/** Creates an empty line. */
export function createByteLine(): ByteLine {
  let buffer = new Uint8Array(initial);
  let size = 0;
  const clear = (): void => {
    size = 0;
    if (buffer.length > kept) buffer = new Uint8Array(initial);
  };
  const append = (bytes: Uint8Array): void => {
    if (size + bytes.length > buffer.length) {
      const larger = new Uint8Array(Math.max(buffer.length * 2, size + bytes.length));
      larger.set(buffer.subarray(0, size));
      buffer = larger;
    }
    buffer.set(bytes, size);
    size += bytes.length;
  };
  const take = (last: Uint8Array): string => {
    if (size === 0) return decodeUtf8(last);
    append(last);
    const text = decodeUtf8(buffer.subarray(0, size));
    clear();
    return text;
  };
  return { size: () => size, append, take, clear };
}
