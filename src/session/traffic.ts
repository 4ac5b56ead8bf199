import { Unread } from "./unread.ts";

/** The traffic between the gateway and its clients besides calls, one per process: counters, for metrics only. */
export class Traffic {
  /** Legacy sessions that have not ended. */
  sessions = 0;
  /** Event streams that are open. */
  streams = 0;
  /** Requests to clients that are not answered yet. */
  asked = 0;
  /** Notifications that were dropped because a client was too slow. */
  lost = 0;
  /** Answers of clients to no open question. */
  stray = 0;
  /** Requests that were refused because all places for them were taken. */
  refused = 0;
  /** No counter: what clients have not read, which is limited for each principal. */
  readonly unread = new Unread();
}
