import type { List, ListNode } from "../../core/linked-list.ts";
import { Exchange, type GaveUp } from "../link/exchange.ts";
import type { Answer, LinkHost, LinkRequest, Peer } from "../link/link.ts";
import { isSessionLost, isUnseen, type SessionLoss } from "./lost-session.ts";
import type { HttpWire } from "./wire.ts";

/** One request that was sent. */
export class Sent extends Exchange {
  /** The session that the request belongs to; null where there is none. */
  readonly session: string | null;
  /** Ends the connection of the request. */
  readonly controller: AbortController;
  readonly node: ListNode<Sent>;
  /** Why nobody waits for the answer any more; null while somebody does. */
  gaveUp: GaveUp | null = null;

  constructor(request: LinkRequest, id: number, session: string | null, controller: AbortController, open: List<Sent>) {
    super(id, request);
    this.session = session;
    this.controller = controller;
    this.node = open.add(this);
  }

  protected giveUp(why: GaveUp): void {
    this.gaveUp = why;
    this.controller.abort();
  }

  /**
   * How the request was refused because of its session; null if it was not. Not if the server sent any message for it:
   * then it has begun to run.
   */
  lossIn(status: number, said: Answer | string): SessionLoss | null {
    const { request, session } = this;
    if (this.heard || request.peer.era === "modern" || request.method === "initialize") return null;
    if (!isSessionLost(status, said, session)) return null;
    return isUnseen(status, said, session) ? "repeatable" : this.doubt;
  }

  /** What it means for the request if the server may have lost the session, and may have looked at the request before. */
  get doubt(): SessionLoss {
    return this.request.method === "tools/call" ? "perhaps ran" : "repeatable";
  }
}

/** What a link shares with the streams that it reads. */
export type StreamContext = {
  readonly host: LinkHost;
  readonly wire: HttpWire;
  /** Most bytes of a message, as things are now. */
  longest(): number;
  /** Whether the link gave out this id. */
  issued(id: string): boolean;
  /** Sends the answer to a request of the server, or the progress with it; resolves once the server has taken it. */
  reply(text: string, peer: Peer): Promise<void>;
};
