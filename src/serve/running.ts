import { Busy } from "../core/busy.ts";
import { Cancel, type AbortControllerLike } from "../core/cancel.ts";
import { List, type ListNode } from "../core/linked-list.ts";

class RunningCall extends Cancel {
  readonly node: ListNode<RunningCall>;
  /** It lasts as long as its caller wants, such as a subscription. Nobody waits for it. */
  standing: boolean;

  constructor(all: List<RunningCall>, standing: boolean) {
    super();
    this.node = all.add(this);
    this.standing = standing;
  }
}

const stopping = "The gateway is stopping.";

/** All running calls, so that a shutdown can wait for them and then cancel the rest. */
export class Running {
  readonly #all = new List<RunningCall>();
  /** Counts those that do not stand. */
  readonly #busy = new Busy();
  #ending = false;

  get size(): number {
    return this.#all.size;
  }

  /** Adds a call; a standing call lasts until its caller ends it. Once all are to end, it is cut off before it begins. */
  add(standing = false): Cancel {
    if (!standing) this.#busy.enter();
    const call = new RunningCall(this.#all, standing);
    if (this.#ending) call.abort(stopping);
    return call;
  }

  delete(call: AbortControllerLike): void {
    if (call instanceof RunningCall && this.#all.delete(call.node) && !call.standing) this.#busy.leave();
  }

  /** Resolves when only standing calls run, or after `ms`. */
  idle(ms: number): Promise<void> {
    return this.#busy.idle(ms);
  }

  /**
   * Ends the standing calls, waits `ms` for all, cuts off the rest, whose callers are told, and waits `grace` ms until
   * they are recorded.
   */
  async end(ms: number, grace: number): Promise<void> {
    this.#ending = true;
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
