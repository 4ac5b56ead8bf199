/** Most bytes that may wait for a server that does not take them. */
export const mostBytes = 8 * 1024 ** 2;

/** Sends a message without waiting. */
export type Send = (key: string, text: string) => void;

/** Messages to a server. While its connection is not open yet, or takes no more, they wait. */
export class Outbox {
  readonly #way: () => Send | null;
  readonly #most: number;
  readonly #waiting = new Map<string, string>();
  #bytes = 0;

  /** `way`: how a message can be sent now; null while it cannot. So many bytes may wait. */
  constructor(way: () => Send | null, most = mostBytes) {
    this.#way = way;
    this.#most = most;
  }

  /** Sends a message, or lets it wait; false when too many wait already. */
  write(key: string, text: string): boolean {
    const send = this.#way();
    if (send) {
      send(key, text);
      return true;
    }
    const size = Buffer.byteLength(text);
    // A message that is larger than all that may wait may still wait alone.
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

  /** Sends what waits, oldest first, as far as the connection takes it. */
  flush(): void {
    for (const [key, text] of this.#waiting) {
      const send = this.#way();
      if (!send) return;
      this.take(key);
      send(key, text);
    }
  }
}
