type Writable = { write(data: Uint8Array): number };

/** The outgoing lines of one socket; queues what the kernel does not take yet, in order and up to a limit. */
export class SocketWriter {
  readonly #socket: Writable;
  #max: number;
  #queue: Uint8Array[] = [];
  #bytes = 0;
  #waiting: (() => void)[] = [];
  #closed = false;
  readonly #onWait: () => void;

  /** At most `max` bytes may be queued; `onWait` is called whenever more is queued. */
  constructor(socket: Writable, max: number, onWait: () => void = () => {}) {
    this.#socket = socket;
    this.#max = max;
    this.#onWait = onWait;
  }

  /** Bytes that the kernel has not taken yet. */
  get queued(): number {
    return this.#bytes;
  }

  /** Removes the limit; the sender must check `queued` from now on. */
  unbound(): void {
    this.#max = Infinity;
  }

  /** Sends or queues a line. Returns false and sends nothing if the queue would exceed its limit or is closed. */
  send(line: string): boolean {
    if (this.#closed) return false;
    const data = Buffer.from(`${line}\n`);
    if (this.#bytes > 0 && this.#bytes + data.length > this.#max) return false;
    this.#queue.push(data);
    this.#bytes += data.length;
    // Queued lines go first, once the socket drains.
    if (this.#queue.length === 1) this.flush();
    if (this.#bytes > 0) this.#onWait();
    return true;
  }

  /** Drops the queue except its first line, which may be partly sent. */
  drop(): void {
    this.#queue.splice(1);
    this.#bytes = this.#queue[0]?.length ?? 0;
  }

  /** Sends from the queue; must be called when the socket drains. */
  flush(): void {
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      const written = Math.max(this.#socket.write(next), 0);
      this.#bytes -= written;
      if (written < next.length) {
        this.#queue[0] = next.subarray(written);
        return;
      }
      this.#queue.shift();
    }
    this.#wake();
  }

  drained(): Promise<void> {
    if (this.#bytes === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.#closed = true;
    this.#queue = [];
    this.#bytes = 0;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
