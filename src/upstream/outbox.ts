/** Bytes that may wait for a connection. */
const mostBytes = 8 * 1024 ** 2;

/** What waits to be sent over a connection that is not there yet, or that does not take more now. */
export type Outbox = {
  /** False when it is full. */
  put(key: string, text: string): boolean;
  /** True when it was still here. */
  take(key: string): boolean;
  /** Everything, in order; empty afterwards. */
  drain(): [key: string, text: string][];
};

/** An empty outbox. */
export function createOutbox(): Outbox {
  const waiting = new Map<string, string>();
  let bytes = 0;
  const take = (key: string): boolean => {
    bytes -= Buffer.byteLength(waiting.get(key) ?? "");
    return waiting.delete(key);
  };
  return {
    put(key, text) {
      const size = Buffer.byteLength(text);
      if (bytes + size > mostBytes) return false;
      bytes += size;
      waiting.set(key, text);
      return true;
    },
    take,
    drain() {
      const all = [...waiting];
      waiting.clear();
      bytes = 0;
      return all;
    },
  };
}
