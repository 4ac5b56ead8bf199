import { type Logger, silent } from "../core/log.ts";
import { Unread } from "../core/unread.ts";

/** Counters of the traffic with clients other than calls, for metrics only; one per process. */
export class Traffic {
  /** Open legacy sessions. */
  sessions = 0;
  /** Open event streams. */
  streams = 0;
  /** Unanswered requests to clients. */
  asked = 0;
  /** Notifications dropped because a client was too slow or away for too long. */
  lost = 0;
  /** Answers from clients that match no open question. */
  stray = 0;
  /** Requests refused because all slots for them were in use. */
  refused = 0;
  /** Not a counter: the bytes that clients have not read, which are limited per principal. */
  readonly unread = new Unread((principal, bytes) => this.leftUnread(principal, bytes));
  readonly #log: Logger;

  constructor(log: Logger = silent) {
    this.#log = log;
  }

  /** Logs that a connection is closed because its client left this many bytes unread. */
  leftUnread(principal: string, bytes: number): void {
    const facts = { principal, bytes };
    this.#log.warn("a connection was closed because its client left too much unread", facts, principal);
  }
}
