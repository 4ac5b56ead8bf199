import { createWindow } from "../window.ts";

/** Most messages of each kind per minute before a server counts as broken. */
const most = { stray: 10_000, unrelated: 60_000, delivered: 600_000 };
const inMinute = (): (() => number) => createWindow(60_000, () => performance.now());

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
  const [strays, unrelated, delivered] = [inMinute(), inMinute(), inMinute()];
  return {
    stray(reason) {
      dropped(reason);
      if (strays() > most.stray) flooded();
    },
    unrelated: () => void (unrelated() > most.unrelated && flooded()),
    delivered: () => void (delivered() > most.delivered && flooded()),
  };
}

/** The reason that is given when such a server is ended. */
export const floodReason = "it floods the gateway with messages";
