import { Busy } from "../core/busy.ts";
import { Cancel, type AbortControllerLike } from "../core/cancel.ts";
import { List, type ListNode } from "../core/linked-list.ts";

class RunningCall extends Cancel {
  readonly node: ListNode<RunningCall>;
  /** Whether it lasts as long as its caller wants, like a subscription, so that nothing waits for it. */
  standing: boolean;

  constructor(all: List<RunningCall>, standing: boolean) {
    super();
    this.node = all.add(this);
    this.standing = standing;
  }
}

/** The reason given to a call that the shutdown cuts off, or that arrives too late to begin. */
const stopping = "The gateway is stopping.";

/** All running calls, so that a shutdown can wait for them and cancel the rest. */
export class Running {
  readonly #all = new List<RunningCall>();
  #stopped = false;
  /** Counts the calls that are not standing. */
  readonly #busy = new Busy();

  get size(): number {
    return this.#all.size;
  }

  /** Adds a call. A standing call lasts until its caller ends it. */
  add(standing = false): Cancel {
    // Calls that arrive after the stop must not delay it, so they count as standing.
    const call = new RunningCall(this.#all, standing || this.#stopped);
    if (!call.standing) this.#busy.enter();
    if (this.#stopped) call.abort(stopping);
    return call;
  }

  /** Aborts every further call, since open connections can still bring some. */
  stop(): void {
    this.#stopped = true;
  }

  delete(call: AbortControllerLike): void {
    if (call instanceof RunningCall && this.#all.delete(call.node) && !call.standing) this.#busy.leave();
  }

  /** Resolves when only standing calls are running, or after `ms`. */
  idle(ms: number): Promise<void> {
    return this.#busy.idle(ms);
  }

  /**
   * Ends the standing calls, waits up to `ms` for all calls, aborts the rest with a reason for their callers, and waits
   * up to `grace` ms until they are recorded.
   */
  async end(ms: number, grace: number): Promise<void> {
    this.stop();
    for (const call of this.#all.items) {
      if (!call.standing) continue;
      call.standing = false;
      this.#busy.enter();
      call.abort();
    }
    await this.idle(ms);
    for (const call of this.#all.items) call.abort(stopping);
    await this.idle(grace);
  }
}
