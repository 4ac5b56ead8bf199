import { Cancel, type AbortControllerLike } from "../core/cancel.ts";
import { List, type ListNode } from "../core/list.ts";
import { within } from "../core/wait.ts";

/** What ends one of the calls that run. */
class RunningCall extends Cancel {
  readonly place: ListNode<AbortControllerLike>;

  constructor(all: List<AbortControllerLike>) {
    super();
    this.place = all.add(this);
  }
}

/** The calls that are running now, so that a shutdown can wait for them and then cancel what is left. */
export class Running {
  readonly #all = new List<AbortControllerLike>();
  /** Those of `#all` that last as long as their callers want, such as subscriptions: nobody waits for them. */
  readonly #standing = new Set<AbortControllerLike>();
  #idle: (() => void) | null = null;

  get size(): number {
    return this.#all.size;
  }

  /** Takes in a call; a standing one has no end of its own. */
  add(standing = false): Cancel {
    const call = new RunningCall(this.#all);
    if (standing) this.#standing.add(call);
    return call;
  }

  delete(controller: AbortControllerLike): void {
    if (controller instanceof RunningCall) this.#all.delete(controller.place);
    if (this.#standing.size > 0) this.#standing.delete(controller);
    if (this.#all.size === this.#standing.size) this.#idle?.();
  }

  /** Resolves when nothing runs any more that ends of its own, or after `ms`. */
  async idle(ms: number): Promise<void> {
    if (this.#all.size === this.#standing.size) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle = resolve;
    await within(promise, ms, null, () => {});
  }

  /** Waits `ms` for what runs, cuts off the rest, whose callers are told, and waits `grace` ms for it to be on record. */
  async end(ms: number, grace: number): Promise<void> {
    for (const controller of this.#standing) controller.abort();
    this.#standing.clear();
    await this.idle(ms);
    for (const controller of this.#all.items) controller.abort("The gateway is stopping.");
    await this.idle(grace);
  }
}
