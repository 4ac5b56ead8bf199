import { createWindow } from "../window.ts";

/**
 * Most messages per minute before a server counts as broken: that belong to nothing, that are about no request, and that
 * somebody takes.
 */
const most = { strays: 10_000, asides: 60_000, told: 600_000 };
const minuteMs = 60_000;

/** Counts the messages of a server that are no answers. */
export type Tally = {
  /** Counts a message that belongs to nothing. */
  stray(reason: string): void;
  /** Counts a message that is about no request, such as a ping or a change; a server may send more of those. */
  aside(): void;
  /** Counts a message that a call or a listener takes, such as progress. */
  told(): void;
};

/** Counts each kind; calls `flooded` when there are so many that they would soon take all the CPU. */
export function createTally(count: (reason: string) => void, flooded: () => void): Tally {
  const strays = createWindow(minuteMs, () => performance.now());
  const asides = createWindow(minuteMs, () => performance.now());
  const taken = createWindow(minuteMs, () => performance.now());
  return {
    stray(reason) {
      count(reason);
      if (strays() > most.strays) flooded();
    },
    aside() {
      if (asides() > most.asides) flooded();
    },
    told() {
      if (taken() > most.told) flooded();
    },
  };
}

/** The reason that is given when such a server is ended. */
export const flood = "it floods the gateway with messages";

const ownId = /^[1-9]\d{0,14}$/;

/** Whether `id` is one that a link gave out, which are the numbers from 1 to `last`. */
export const isIssued = (id: string, last: number): boolean => ownId.test(id) && Number(id) <= last;
