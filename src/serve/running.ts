import { Cancel, type AbortControllerLike } from "../core/cancel.ts";
import { List, type ListNode } from "../core/linked-list.ts";
import { within } from "../core/wait.ts";

class RunningCall extends Cancel {
  readonly node: ListNode<AbortControllerLike>;

  constructor(all: List<AbortControllerLike>) {
    super();
    this.node = all.add(this);
  }
}

/** All running calls, so that a shutdown can wait for them and then cancel the rest. */
export class Running {
  readonly #all = new List<AbortControllerLike>();
  /** The calls in `#all` that last as long as their callers want, such as subscriptions. Nobody waits for them. */
  readonly #standing = new Set<AbortControllerLike>();
  #idle: (() => void) | null = null;

  get size(): number {
    return this.#all.size;
  }

  /** Adds a call; a standing call lasts until its caller ends it. */
  add(standing = false): Cancel {
    const call = new RunningCall(this.#all);
    if (standing) this.#standing.add(call);
    return call;
  }

  delete(controller: AbortControllerLike): void {
    if (controller instanceof RunningCall) this.#all.delete(controller.node);
    if (this.#standing.size > 0) this.#standing.delete(controller);
    if (this.#all.size === this.#standing.size) this.#idle?.();
  }

  /** Resolves when only standing calls run, or after `ms`. */
  async idle(ms: number): Promise<void> {
    if (this.#all.size === this.#standing.size) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle = resolve;
    await within(promise, ms, null, () => {});
  }

  /**
   * Ends the standing calls, waits `ms` for the others, cuts off the rest, whose callers are told, and waits `grace` ms
   * until they are recorded.
   */
  async end(ms: number, grace: number): Promise<void> {
    for (const controller of this.#standing) controller.abort();
    this.#standing.clear();
    await this.idle(ms);
    for (const controller of this.#all.items) controller.abort("The gateway is stopping.");
    await this.idle(grace);
  }
}
