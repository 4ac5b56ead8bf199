/** Bytes that may wait. */
const mostBytes = 8 * 1024 ** 2;

/** What waits to be sent over a connection or a pipe that is not there yet, or that does not take more now. */
export type Outbox = {
  /** False when it is full. */
  put(key: string, text: string): boolean;
  /** True when it was still here. */
  take(key: string): boolean;
  /** What waited longest, which is here no more; null when nothing waits. */
  next(): readonly [key: string, text: string] | null;
};

/** An empty outbox, in which `most` bytes may wait. */
export function createOutbox(most = mostBytes): Outbox {
  const waiting = new Map<string, string>();
  let bytes = 0;
  const take = (key: string): boolean => {
    bytes -= Buffer.byteLength(waiting.get(key) ?? "");
    return waiting.delete(key);
  };
  return {
    put(key, text) {
      const size = Buffer.byteLength(text);
      // A message that is larger than all the room may still be the only one that waits.
      if (bytes > 0 && bytes + size > most) return false;
      bytes += size;
      waiting.set(key, text);
      return true;
    },
    take,
    next() {
      const [first] = waiting;
      if (first) take(first[0]);
      return first ?? null;
    },
  };
}
