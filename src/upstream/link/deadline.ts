import { List, type ListNode } from "../../core/list.ts";
import { longestTimer } from "../../core/wait.ts";

/** The deadlines that run. One timer serves them all, set for the first that may be over. */
const running = new List<Deadline>();
let timer: Timer | null = null;
let timerDue = Infinity;

function watch(deadline: Deadline): ListNode<Deadline> {
  if (deadline.due < timerDue) setTimer(deadline.due);
  return running.add(deadline);
}

function setTimer(due: number): void {
  if (timer) clearTimeout(timer);
  timerDue = due;
  timer = setTimeout(checkAll, Math.min(longestTimer, Math.max(1, due - performance.now())));
  // What is waited for keeps the process alive; a timer that is left over must not.
  timer.unref();
}

function checkAll(): void {
  timer = null;
  timerDue = Infinity;
  // Timers count whole milliseconds.
  const now = performance.now() + 1;
  let next = Infinity;
  for (const deadline of running.items) {
    if (deadline.due <= now) deadline.end();
    else next = Math.min(next, deadline.due);
  }
  if (next < timerDue) setTimer(next);
}

/** Calls `expire` once when a request's time is up. A sign of life costs no timer, so that it can be frequent. */
export class Deadline {
  readonly #idle: number;
  readonly #most: number;
  readonly #expire: () => void;
  readonly #born = performance.now();
  #seen = this.#born;
  #paused = 0;
  #pausedAt: number | null = null;
  #place: ListNode<Deadline>;

  /** `idle` ms without a sign of life, `most` ms in all, pauses not counted. */
  constructor(idle: number, most: number, expire: () => void) {
    this.#idle = idle;
    this.#most = most;
    this.#expire = expire;
    this.#place = watch(this);
  }

  /** The server is alive. */
  touch(): void {
    this.#seen = performance.now();
  }

  /** Stops the clock: it is not the server that is waited for. */
  pause(): void {
    running.delete(this.#place);
    this.#pausedAt ??= performance.now();
  }

  resume(): void {
    if (this.#pausedAt === null) return;
    this.#paused += performance.now() - this.#pausedAt;
    this.#pausedAt = null;
    this.touch();
    this.#place = watch(this);
  }

  /** For good. */
  stop(): void {
    running.delete(this.#place);
    this.#pausedAt = null;
  }

  /** The time is up. */
  end(): void {
    // It may have been stopped by what ended before it.
    if (running.delete(this.#place)) this.#expire();
  }

  /** Whether it is the time in all that ends it, not the server's silence. */
  get spent(): boolean {
    return this.#overall <= this.#seen + this.#idle;
  }

  get #overall(): number {
    return this.#born + this.#paused + this.#most;
  }

  /** When the time will be up, as things are now; as `performance.now()` counts. */
  get due(): number {
    return Math.min(this.#seen + this.#idle, this.#overall);
  }
}
