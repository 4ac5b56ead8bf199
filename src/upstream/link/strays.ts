import { createWindow } from "../window.ts";

/** Most messages per minute before a server counts as broken: that belong to nothing, and that are about no request. */
const most = { strays: 10_000, asides: 60_000 };
const minuteMs = 60_000;

/** Counts the messages of a server that nobody asked for. */
export type Unasked = {
  /** Counts a message that belongs to nothing. */
  stray(reason: string): void;
  /** Counts a message that is about no request, such as a ping or a change; a server may send more of those. */
  aside(): void;
};

/** Counts both kinds; calls `flooded` when there are so many that they would soon take all the CPU. */
export function createUnasked(count: (reason: string) => void, flooded: () => void): Unasked {
  const strays = createWindow(minuteMs, () => performance.now());
  const asides = createWindow(minuteMs, () => performance.now());
  return {
    stray(reason) {
      count(reason);
      if (strays() > most.strays) flooded();
    },
    aside() {
      if (asides() > most.asides) flooded();
    },
  };
}

/** The reason that is given when such a server is ended. */
export const flood = "it floods the gateway with messages that nobody asked for";

const ownId = /^[1-9]\d{0,14}$/;

/** Whether `id` is one that a link gave out, which are the numbers from 1 to `last`. */
export const isIssued = (id: string, last: number): boolean => ownId.test(id) && Number(id) <= last;
