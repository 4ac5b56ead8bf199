import type { Gateway } from "../gateway/gateway.ts";
import type { Traffic } from "../session/traffic.ts";

/** The parts of the process that limit what clients leave unread. */
export type Sending = { readonly current: () => Gateway; readonly traffic: Traffic };

/** Maximum bytes queued for a client before notifications are dropped; results and list changes still queue. */
export const maxQueued = 1024 ** 2;

/** Minimum for `maxOwed`, because limits.result does not apply to lists and other answers of the gateway itself. */
const minOwed = 8 * 1024 ** 2;

/**
 * Bytes queued for a client after which the next message that must arrive ends its connection, because it does not read
 * even its results. Several maximum-length results may be ready at the same moment, before any could have been read.
 */
export const maxOwed = ({ caps }: Gateway): number => maxQueued + Math.max(4 * caps.result, minOwed);

/** Bytes that are passed to Bun at once; they cannot be taken back. */
export const portion = 64 * 1024;

/** Bytes that a connection may hold before the total of its principal is checked. */
export const maxUncheckedBytes = 256 * 1024;
/** How many times `maxOwed` all connections of one principal may hold together. */
const shares = 8;

/**
 * Limits the unread bytes of all connections of one principal by dropping the connections that hold the most. `queued`
 * is the number of bytes that the connection just written to holds.
 */
export function limitUnread(owner: string, queued: number, { current, traffic }: Sending): void {
  if (queued > maxUncheckedBytes) traffic.unread.bound(owner, shares * maxOwed(current()));
}

/** The outgoing side of one client's connection. */
export type Outlet = {
  /** Id of the principal. */
  readonly owner: string;
  /** Bytes that the client has not read yet. */
  queued(): number;
  put(message: string): void;
  /** Ends the connection; `why` is a sentence. */
  close(why: string): void;
};

/** The reason for ending the connection of a client that does not read. */
export const leftUnread = "The client left too much unread.";

/** Sends a message. If too much is unread, a message without `must` is dropped; one with `must` ends the connection. */
export function sendOrDrop(to: Outlet, message: string, must: boolean, sending: Sending): void {
  const { current, traffic } = sending;
  const queued = to.queued();
  if (queued < (must ? maxOwed(current()) : maxQueued)) {
    to.put(message);
    return limitUnread(to.owner, to.queued(), sending);
  }
  if (!must) return void traffic.lost++;
  traffic.leftUnread(to.owner, queued);
  to.close(leftUnread);
}
