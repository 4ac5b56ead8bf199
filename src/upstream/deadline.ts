/** Watches the time of a request; both in ms. */
export type Allowance = {
  /** Without a sign of life. */
  readonly idle: number;
  /** In all, pauses not counted. */
  readonly most: number;
};

/** What is longer, a timer takes for no time at all. */
const longestTimer = 2 ** 31 - 1;

/** Calls `expire` once when a request's time is up. A sign of life costs no timer, so that it can be frequent. */
export class Deadline {
  readonly #idle: number;
  readonly #most: number;
  readonly #expire: () => void;
  readonly #born = performance.now();
  #seen = this.#born;
  #paused = 0;
  #pausedAt: number | null = null;
  #timer: Timer | null = null;

  constructor({ idle, most }: Allowance, expire: () => void) {
    this.#idle = idle;
    this.#most = most;
    this.#expire = expire;
    this.#arm();
  }

  /** The server is alive. */
  touch(): void {
    this.#seen = performance.now();
  }

  /** Stops the clock: it is not the server that is waited for. */
  pause(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#pausedAt ??= performance.now();
  }

  resume(): void {
    if (this.#pausedAt === null) return;
    this.#paused += performance.now() - this.#pausedAt;
    this.#pausedAt = null;
    this.touch();
    this.#arm();
  }

  /** For good. */
  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#pausedAt = null;
  }

  get #due(): number {
    return Math.min(this.#seen + this.#idle, this.#born + this.#paused + this.#most);
  }

  #arm(): void {
    const ms = Math.max(1, this.#due - performance.now());
    this.#timer = setTimeout(() => this.#check(), Math.min(longestTimer, ms));
  }

  #check(): void {
    // Timers count whole milliseconds.
    if (performance.now() < this.#due - 1) return this.#arm();
    this.#timer = null;
    this.#expire();
  }
}
