/** Most bytes that may wait for a server that does not take them. */
export const mostBytes = 8 * 1024 ** 2;

/** Messages that wait for a connection that is not open yet, or for a pipe that takes no more now. */
export type Outbox = {
  /** False when it is full. */
  put(key: string, text: string): boolean;
  /** Takes a message back; true if it was still waiting. */
  take(key: string): boolean;
  /** Takes out one message after the other, oldest first, until none waits. */
  drain(): Iterable<readonly [key: string, text: string]>;
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
      // A message that is larger than the whole outbox may still wait alone.
      if (bytes > 0 && bytes + size > most) return false;
      bytes += size;
      waiting.set(key, text);
      return true;
    },
    take,
    *drain() {
      for (const message of waiting) {
        take(message[0]);
        yield message;
      }
    },
  };
}
