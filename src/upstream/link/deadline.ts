import { stallDetector, stallThresholdMs, maxTimerMs, readDelayMs } from "../../core/clock.ts";
import { List, type ListNode } from "../../core/linked-list.ts";

/** The running deadlines. One timer serves them all; it is set for the earliest. */
const running = new List<Deadline>();
let timer: Timer | undefined;
let timerDue = Infinity;

const isHeldUp = stallDetector(stallThresholdMs);

function watch(deadline: Deadline): ListNode<Deadline> {
  if (deadline.due < timerDue) setTimer(deadline.due);
  return running.add(deadline);
}

function setTimer(due: number): void {
  clearTimeout(timer);
  timerDue = due;
  // The request itself keeps the process alive; a leftover timer must not.
  timer = setTimeout(checkAll, Math.min(maxTimerMs, Math.max(1, due - performance.now()))).unref();
}

function checkAll(): void {
  // Timers count whole milliseconds, so they may fire slightly early.
  const now = performance.now() + 1;
  if (isHeldUp(now - timerDue)) return setTimer(now + readDelayMs);
  timerDue = Infinity;
  let next = Infinity;
  for (const deadline of running.items) {
    if (deadline.due <= now) deadline.end();
    else next = Math.min(next, deadline.due);
  }
  if (next < timerDue) setTimer(next);
}

/** Calls `expire` once when a request's time is up. A sign of life sets no timer, so signs may be frequent. */
export class Deadline {
  readonly #idle: number;
  readonly #expire: () => void;
  #seen: number;
  /** When the total time is up. */
  #latest: number;
  #pausedAt: number | null = null;
  #node: ListNode<Deadline>;

  /**
   * The time is up after `idle` ms without a sign of life, `waited` of them already over, or `most` ms in total, not
   * counting pauses.
   */
  constructor(idle: number, most: number, expire: () => void, waited = 0) {
    const now = performance.now();
    this.#idle = idle;
    this.#seen = now - waited;
    this.#latest = now + most;
    this.#expire = expire;
    this.#node = watch(this);
  }

  /** Records a sign of life from the server. */
  touch(): void {
    this.#seen = performance.now();
  }

  /** Pauses the clock while the gateway waits for someone other than the server. */
  pause(): void {
    running.delete(this.#node);
    this.#pausedAt ??= performance.now();
  }

  resume(): void {
    if (this.#pausedAt === null) return;
    this.touch();
    this.#latest += this.#seen - this.#pausedAt;
    this.#pausedAt = null;
    this.#node = watch(this);
  }

  /** Stops the clock for good. */
  stop(): void {
    running.delete(this.#node);
    this.#pausedAt = null;
  }

  /** Calls `expire`, unless the clock was stopped. */
  end(): void {
    // A deadline that ended just before may have stopped this one.
    if (running.delete(this.#node)) this.#expire();
  }

  /** Whether the total time ends the request, not the server's silence. */
  get spent(): boolean {
    return this.#latest <= this.#seen + this.#idle;
  }

  /** When the time will be up if no further sign of life comes, in the time of `performance.now()`. */
  get due(): number {
    return Math.min(this.#seen + this.#idle, this.#latest);
  }
}
