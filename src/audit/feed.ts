import { onAbort } from "../core/cancel.ts";
import { Failure } from "../core/failure.ts";

/** A durable record, or how many were left out because the reader was too slow. */
type FeedItem = { readonly seq: number; readonly rec: string } | { readonly gap: number };

/** What one reader is given, until it is disposed of. */
export type FeedReader = AsyncIterable<FeedItem> & Disposable;

/** Hands durable records to whoever follows the chain. */
export type Feed = {
  /** Whether anybody follows: if not, records need not be kept until they are durable. */
  readonly followed: boolean;
  publish(seq: number, rec: string): void;
  /**
   * Records from now on for a user of this host, until `signal` aborts or this is disposed of. Throws `overloaded` if
   * there are too many readers.
   */
  follow(user: string, signal: AbortSignal): FeedReader;
};

const maxQueued = 1000;
const maxFollowers = 64;
/** The part of them that one user may have, so that no user locks out the rest. */
const maxOwn = 48;

type Follower = { readonly user: string; queue: FeedItem[]; missed: number; ended: boolean; wake: () => void };

/**
 * A feed that nobody follows yet. It holds a bounded number of records for each reader, and a bounded number of
 * readers.
 */
export function createFeed(): Feed {
  const followers = new Set<Follower>();

  // Refuses and begins at once, since a generator does neither before its first item is asked for.
  function follow(user: string, signal: AbortSignal): FeedReader {
    const own = [...followers].filter((one) => one.user === user).length;
    if (own >= maxOwn || followers.size >= maxFollowers) {
      const who = own >= maxOwn ? `${maxOwn} readers of yours` : `${maxFollowers} readers`;
      throw new Failure("overloaded", `${who} follow the audit log already; close one of them.`);
    }
    const follower: Follower = { user, queue: [], missed: 0, ended: false, wake: () => {} };
    // At once: the loop may stand at a record that its reader does not ask for any more.
    const end = (): void => {
      unhook();
      followers.delete(follower);
      follower.ended = true;
      follower.wake();
    };
    followers.add(follower);
    const unhook = onAbort(signal, end);
    return { [Symbol.asyncIterator]: () => itemsFor(follower), [Symbol.dispose]: end };
  }

  return {
    get followed() {
      return followers.size > 0;
    },
    publish(seq, rec) {
      for (const follower of followers) {
        if (follower.queue.length < maxQueued) follower.queue.push({ seq, rec });
        else follower.missed += 1;
        follower.wake();
      }
    },
    follow,
  };
}

async function* itemsFor(follower: Follower): AsyncGenerator<FeedItem> {
  while (!follower.ended) {
    yield* drain(follower);
    const { promise, resolve } = Promise.withResolvers<void>();
    follower.wake = resolve;
    if (follower.queue.length === 0 && !follower.ended) await promise;
  }
}

function drain(follower: Follower): FeedItem[] {
  const items = follower.queue;
  follower.queue = [];
  if (follower.missed > 0) items.push({ gap: follower.missed });
  follower.missed = 0;
  return items;
}
