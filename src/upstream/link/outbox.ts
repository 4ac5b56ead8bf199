/** Maximum number of bytes that may wait for a server that does not read. */
export const maxTotalBytes = 8 * 1024 ** 2;

/** Sends a message without waiting. */
export type Send = (key: string, text: string) => void;

/** Messages to a server, which wait while its connection is not open yet or accepts no more. */
export class Outbox {
  readonly #way: () => Send | null;
  readonly #most: number;
  readonly #waiting = new Map<string, string>();
  #bytes = 0;

  /** `way` returns how to send a message now, or null if that is not possible. At most `most` bytes may wait. */
  constructor(way: () => Send | null, most = maxTotalBytes) {
    this.#way = way;
    this.#most = most;
  }

  /** Sends or queues a message; false if too much is waiting already. */
  write(key: string, text: string): boolean {
    const send = this.#way();
    if (send) {
      send(key, text);
      return true;
    }
    const size = Buffer.byteLength(text);
    // A message that is larger than the limit may still wait alone.
    if (this.#bytes > 0 && this.#bytes + size > this.#most) return false;
    this.#bytes += size;
    this.#waiting.set(key, text);
    return true;
  }

  /** Takes a message back; true if it was still waiting. */
  take(key: string): boolean {
    this.#bytes -= Buffer.byteLength(this.#waiting.get(key) ?? "");
    return this.#waiting.delete(key);
  }

  /** Sends waiting messages, oldest first, as long as the connection accepts them. */
  flush(): void {
    for (const [key, text] of this.#waiting) {
      const send = this.#way();
      if (!send) return;
      this.take(key);
      send(key, text);
    }
  }
}
