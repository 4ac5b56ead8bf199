import { Exchange, type GaveUp } from "../link/exchange.ts";
import type { Answer, LinkRequest } from "../link/link.ts";
import { lossOf, type SessionLoss } from "./lost-session.ts";

/** One request over HTTP. */
export class HttpExchange extends Exchange {
  /** The session that the request belongs to; null if there is none. */
  readonly session: string | null;
  /** Ends the connection of the request. */
  readonly controller: AbortController;
  /** Why nobody waits for the answer any more; null while somebody does. */
  gaveUp: GaveUp | null = null;

  constructor(id: number, request: LinkRequest, session: string | null, controller: AbortController) {
    super(id, request);
    this.session = session;
    this.controller = controller;
  }

  protected giveUp(why: GaveUp): void {
    this.gaveUp = why;
    this.controller.abort();
  }

  /**
   * Returns how the request was refused because of its session; null if it was not, or if the server had already sent a
   * message for it and so had begun to run it.
   */
  lossIn(status: number, said: Answer | string): SessionLoss | null {
    const { request, session } = this;
    if (this.heard || request.peer.era === "modern" || request.method === "initialize") return null;
    const loss = lossOf(status, said, session);
    return loss === "perhaps ran" ? this.doubt : loss;
  }

  /** What it means for the request if the server may have lost the session after it may have read the request. */
  get doubt(): SessionLoss {
    return this.request.method === "tools/call" ? "perhaps ran" : "repeatable";
  }
}
