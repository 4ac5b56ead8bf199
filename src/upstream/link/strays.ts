/** Per minute, before a server is taken for broken: messages that belong to nothing, and those that are about no request. */
const most = { strays: 10_000, asides: 60_000 };
const minute = 60_000;

/** Counts messages; true from the first on that is one too many in its minute. */
function createRate(limit: number): () => boolean {
  let count = 0;
  let since = 0;
  return () => {
    const now = performance.now();
    if (now - since > minute) {
      since = now;
      count = 0;
    }
    return ++count > limit;
  };
}

/** What a server says that nobody asked for. */
export type Unasked = {
  /** Counts a message that belongs to nothing. */
  stray(reason: string): void;
  /** Counts one that is about no request, as a ping or a change is: a server may send more of them. */
  aside(): void;
};

/** Counts both; calls `flooded` when a server sends little else, before it takes all the CPU. */
export function createUnasked(count: (reason: string) => void, flooded: () => void): Unasked {
  const strays = createRate(most.strays);
  const asides = createRate(most.asides);
  return {
    stray(reason) {
      count(reason);
      if (strays()) flooded();
    },
    aside() {
      if (asides()) flooded();
    },
  };
}

/** Why such a server is ended. */
export const flood = "it floods the gateway with messages that nobody asked for";

const ownId = /^[1-9]\d{0,14}$/;

/** Whether this is one of the ids up to `last`, which a link gave out in turn. */
export const isIssued = (id: string, last: number): boolean => ownId.test(id) && Number(id) <= last;
