import type { AbortControllerLike, Withdrawn } from "../core/cancel.ts";
import { List, type ListNode } from "../core/linked-list.ts";
import { plainId } from "../mcp/message.ts";

type ClientCall = { readonly idText: string; readonly call: AbortControllerLike };

/** The running calls of one client. */
export class ClientCalls {
  readonly #all = new List<ClientCall>();
  /** The ids of calls that are about to begin, each with its cancellation if one has already arrived. */
  readonly #expected = new Map<string, Withdrawn | null>();

  get size(): number {
    return this.#all.size;
  }

  /** Allows a call to be cancelled before it begins. */
  expect(idText: string): void {
    this.#expected.set(plainId(idText), null);
  }

  began(idText: string, call: AbortControllerLike): ListNode<ClientCall> {
    if (this.#expected.size > 0) {
      const id = plainId(idText);
      const why = this.#expected.get(id);
      this.#expected.delete(id);
      if (why) call.abort(why);
    }
    return this.#all.add({ idText, call });
  }

  finished(node: ListNode<ClientCall>): void {
    this.#all.delete(node);
  }

  /** Cancels the call with this id, the newest if a client uses an id twice. Returns false if there is none. */
  cancel(idText: string, why: Withdrawn): boolean {
    const id = plainId(idText);
    if (this.#expected.has(id)) {
      this.#expected.set(id, why);
      return true;
    }
    const found = this.#all.items.findLast((one) => plainId(one.idText) === id);
    found?.call.abort(why);
    return found !== undefined;
  }

  /** Cancels all calls; `why` is passed to `abort`. */
  cancelAll(why?: string): void {
    for (const { call } of this.#all.items) call.abort(why);
  }
}
