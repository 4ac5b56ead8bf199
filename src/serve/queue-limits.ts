import type { Gateway } from "../gateway/gateway.ts";
import type { Traffic } from "../session/traffic.ts";

/** What of the process bounds what its clients leave unread. */
export type Sending = { readonly current: () => Gateway; readonly traffic: Traffic };

/**
 * Bytes that may wait until a client reads them; a slower one loses notifications, but no result, and not that its
 * lists have changed.
 */
export const maxQueued = 1024 ** 2;

/** Lists and other answers of the gateway itself are not bound by limits.result. */
const leastOwed = 8 * 1024 ** 2;

/**
 * Bytes after which a client that does not read even its results counts as gone: the next message that must arrive ends
 * its connection. Several of the longest results may be ready at the same moment, before anybody could have read one.
 */
export const maxOwed = ({ caps }: Gateway): number => maxQueued + Math.max(4 * caps.result, leastOwed);

/** Bytes that are handed to Bun at once; they cannot be taken back. */
export const portion = 64 * 1024;

/** Bytes that a connection may hold before it is asked what all connections of its principal hold. */
export const mostUnasked = 256 * 1024;
/** How often what one connection may hold all those of a principal may hold together. */
const shares = 8;

/**
 * Keeps what the connections of one principal hold together within a limit; those that hold the most are dropped.
 * `queued` are the bytes that the one holds which was just written to.
 */
export function boundUnread(owner: string, queued: number, { current, traffic }: Sending): void {
  if (queued > mostUnasked) traffic.unread.bound(owner, shares * maxOwed(current()));
}

/** Where messages go out to one client. */
export type Outlet = {
  /** Id of the principal. */
  readonly owner: string;
  /** Bytes that the client has not taken yet. */
  queued(): number;
  put(message: string): void;
  /** Ends the connection; `why` is a sentence. */
  close(why: string): void;
};

/** Why a connection is ended whose client does not read. */
export const leftUnread = "The client left too much unread.";

/** Sends a message that the client takes in time; one without `must` is dropped if it does not. */
export function sendWithin(to: Outlet, message: string, must: boolean, sending: Sending): void {
  const { current, traffic } = sending;
  const queued = to.queued();
  if (queued < (must ? maxOwed(current()) : maxQueued)) {
    to.put(message);
    return boundUnread(to.owner, to.queued(), sending);
  }
  if (!must) return void traffic.lost++;
  traffic.leftUnread(to.owner, queued);
  to.close(leftUnread);
}
