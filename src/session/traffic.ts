import { type Logger, silent } from "../core/log.ts";
import { Unread } from "../core/unread.ts";

/** The traffic between the gateway and its clients besides calls, one per process: counters, for metrics only. */
export class Traffic {
  /** Legacy sessions that have not ended. */
  sessions = 0;
  /** Event streams that are open. */
  streams = 0;
  /** Requests to clients that are not answered yet. */
  asked = 0;
  /** Notifications that were dropped because a client was too slow, or away for too long. */
  lost = 0;
  /** Answers of clients to no open question. */
  stray = 0;
  /** Requests that were refused because all places for them were taken. */
  refused = 0;
  /** No counter: what clients have not read, which is limited for each principal. */
  readonly unread = new Unread((principal, bytes) => this.leftUnread(principal, bytes));
  readonly #log: Logger;

  constructor(log: Logger = silent) {
    this.#log = log;
  }

  /** Says that a connection is cut off which holds so many bytes that its client has not read. */
  leftUnread(principal: string, bytes: number): void {
    const facts = { principal, bytes };
    this.#log.warn("a connection was cut off, as its client left too much unread", facts, principal);
  }
}
