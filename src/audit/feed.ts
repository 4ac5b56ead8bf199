/** A durable record, or how many were left out because the reader was too slow. */
export type FeedItem = { readonly seq: number; readonly rec: string } | { readonly gap: number };

/** Hands durable records to whoever follows the chain. */
export type Feed = {
  /** Whether anybody follows: if not, records need not be kept until they are durable. */
  readonly followed: boolean;
  publish(seq: number, rec: string): void;
  /** Records from now on, until `signal` aborts or the loop over them is left. */
  follow(signal: AbortSignal): AsyncIterable<FeedItem>;
  close(): void;
};

const maxQueued = 1000;
const maxFollowers = 64;

type Follower = { queue: FeedItem[]; missed: number; ended: boolean; wake: () => void };

/** A feed that nobody follows yet. It holds a bounded number of records for each reader, and a bounded number of readers. */
export function createFeed(): Feed {
  const followers = new Set<Follower>();

  async function* follow(signal: AbortSignal): AsyncGenerator<FeedItem> {
    if (followers.size >= maxFollowers) throw new Error(`${maxFollowers} readers follow the audit log already`);
    const follower: Follower = { queue: [], missed: 0, ended: signal.aborted, wake: () => {} };
    // At once: the loop may stand at a record that its reader does not ask for any more.
    const end = (): void => {
      followers.delete(follower);
      follower.ended = true;
      follower.wake();
    };
    followers.add(follower);
    signal.addEventListener("abort", end, { once: true });
    try {
      while (!follower.ended) {
        yield* drain(follower);
        const { promise, resolve } = Promise.withResolvers<void>();
        follower.wake = resolve;
        if (follower.queue.length === 0 && !follower.ended) await promise;
      }
    } finally {
      signal.removeEventListener("abort", end);
      followers.delete(follower);
    }
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
    close() {
      for (const follower of followers) {
        follower.ended = true;
        follower.wake();
      }
    },
  };
}

function drain(follower: Follower): FeedItem[] {
  const items = follower.queue;
  follower.queue = [];
  if (follower.missed > 0) items.push({ gap: follower.missed });
  follower.missed = 0;
  return items;
}
