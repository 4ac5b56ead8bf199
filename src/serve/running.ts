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

/** What a call is told that the end of the gateway cuts off, or that comes too late to begin. */
const stopping = "The gateway is stopping.";

/** All running calls, so that a shutdown can wait for them and then cancel the rest. */
export class Running {
  readonly #all = new List<RunningCall>();
  #stopped = false;
  /** Counts those that do not stand. */
  readonly #busy = new Busy();

  get size(): number {
    return this.#all.size;
  }

  /** Adds a call; a standing call lasts until its caller ends it. */
  add(standing = false): Cancel {
    // Those that come too late hold up no stop, however many they are.
    const call = new RunningCall(this.#all, standing || this.#stopped);
    if (!call.standing) this.#busy.enter();
    if (this.#stopped) call.abort(stopping);
    return call;
  }

  /** Lets no further call begin: connections that are open still bring them. */
  stop(): void {
    this.#stopped = true;
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
