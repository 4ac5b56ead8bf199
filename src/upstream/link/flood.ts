import { createWindow } from "../window.ts";

/** Most messages of each kind per minute before a server counts as broken. */
const most = { stray: 10_000, unrelated: 60_000, delivered: 600_000 };
const minuteMs = 60_000;

/** Counts the messages of a server that are no answers. */
export type FloodGuard = {
  /** Counts a message that belongs to nothing. */
  stray(reason: string): void;
  /** Counts a message that is about no request, such as a ping or a change; a server may send more of those. */
  unrelated(): void;
  /** Counts a message that a call or a listener takes, such as progress; a server may send most of those. */
  delivered(): void;
};

/** Counts each kind; calls `flooded` when there are so many that they would soon take all the CPU. */
export function createFloodGuard(dropped: (reason: string) => void, flooded: () => void): FloodGuard {
  const strays = createWindow(minuteMs, () => performance.now());
  const unrelated = createWindow(minuteMs, () => performance.now());
  const delivered = createWindow(minuteMs, () => performance.now());
  return {
    stray(reason) {
      dropped(reason);
      if (strays() > most.stray) flooded();
    },
    unrelated() {
      if (unrelated() > most.unrelated) flooded();
    },
    delivered() {
      if (delivered() > most.delivered) flooded();
    },
  };
}

/** The reason that is given when such a server is ended. */
export const floodReason = "it floods the gateway with messages";
