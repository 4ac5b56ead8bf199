import type { Gateway } from "../gateway/gateway.ts";
import type { Traffic } from "../session/traffic.ts";

/**
 * Bytes that may wait until a client reads them; a slower one loses notifications, but no result, and not that its lists
 * have changed.
 */
export const maxQueued = 1024 ** 2;

/** Lists and other answers of the gateway itself are not bound by limits.result. */
const leastOwed = 8 * 1024 ** 2;

/**
 * Bytes after which a client that does not read even its results counts as gone. Several of the longest may be ready at
 * the same moment, before anybody could have read one.
 */
export const maxOwed = ({ shape }: Gateway): number => maxQueued + Math.max(4 * shape.result, leastOwed);

/** The way to a client on a connection of its own. */
type Outlet = {
  /** Bytes that the client has not taken yet. */
  queued(): number;
  write(message: string): void;
  /** Ends the connection; `why` is a sentence. */
  end(why: string): void;
};

/** Sends what the client takes in time, as `ConnectionOptions.send`. */
export function sendWithin(
  { queued, write, end }: Outlet,
  { current, traffic }: { readonly current: () => Gateway; readonly traffic: Traffic },
): (message: string, must: boolean) => void {
  return (message, must) => {
    const bytes = queued();
    if (bytes > maxOwed(current())) end("The client left too much unread.");
    else if (must || bytes < maxQueued) write(message);
    else traffic.lost++;
  };
}
