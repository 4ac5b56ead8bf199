import { onAbort } from "../core/cancel.ts";
import { Failure } from "../core/failure.ts";

/** A durable record, or the number of records left out because the reader was too slow. */
type FeedItem = { readonly seq: number; readonly rec: string } | { readonly gap: number };

/** The records of one reader, until it is disposed of. */
export type FeedReader = AsyncIterable<FeedItem> & Disposable;

/** Delivers durable records to the readers that follow the chain. */
export type Feed = {
  /** Whether there are readers; if not, record texts need not be kept until they are durable. */
  readonly followed: boolean;
  publish(seq: number, rec: string): void;
  /** Follows the chain for a user of this host until `signal` aborts; throws `overloaded` beyond the limits. */
  follow(user: string, signal: AbortSignal): FeedReader;
};

const maxQueued = 1000;
const maxFollowers = 64;
/** Maximum number of followers per user, so that one user cannot lock out the others. */
const maxFollowersPerUser = 48;

type Follower = { readonly user: string; queue: FeedItem[]; missed: number; ended: boolean; wake: () => void };

/** Creates a feed without readers. It bounds both the number of readers and the records queued for each. */
export function createFeed(): Feed {
  const followers = new Set<Follower>();

  // Not a generator itself: a generator would neither refuse nor begin before its first item is requested.
  function follow(user: string, signal: AbortSignal): FeedReader {
    const own = [...followers].filter((one) => one.user === user).length;
    if (own >= maxFollowersPerUser || followers.size >= maxFollowers) {
      const who = own >= maxFollowersPerUser ? `${maxFollowersPerUser} of your readers` : `${maxFollowers} readers`;
      throw new Failure("overloaded", `${who} already follow the audit log; close one of them.`);
    }
    const follower: Follower = { user, queue: [], missed: 0, ended: false, wake: () => {} };
    // Ends at once, because the loop may be suspended at a record whose successor the reader never requests.
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
