import type { AbortControllerLike, Withdrawn } from "../core/cancel.ts";
import { List, type ListNode } from "../core/linked-list.ts";
import { plainId } from "../mcp/message.ts";

/** A running call and the raw text of its id. */
type ClientCall = { readonly idText: string; readonly call: AbortControllerLike };

/** The running calls of one client. */
export class ClientCalls {
  readonly #all = new List<ClientCall>();

  get size(): number {
    return this.#all.size;
  }

  began(idText: string, call: AbortControllerLike): ListNode<ClientCall> {
    return this.#all.add({ idText, call });
  }

  finished(place: ListNode<ClientCall>): void {
    this.#all.delete(place);
  }

  /** Cancels the call with this id; the newest one, if a client uses an id twice. False if there is none. */
  cancel(idText: string, why: Withdrawn): boolean {
    const id = plainId(idText);
    const found = this.#all.items.findLast((one) => plainId(one.idText) === id);
    found?.call.abort(why);
    return found !== undefined;
  }

  /** Ends all; `why` as for `abort`. */
  cancelAll(why?: string): void {
    for (const { call } of this.#all.items) call.abort(why);
  }
}
