import { createWindow } from "../window.ts";

/** Maximum number of messages of each kind per minute; beyond it a server counts as broken. */
const most = { stray: 10_000, unrelated: 60_000, delivered: 600_000 };
const inMinute = (): (() => number) => createWindow(60_000, () => performance.now());

/** Counts the messages of a server that are not answers. */
export type FloodGuard = {
  /** Counts a message that belongs to nothing. */
  stray(reason: string): void;
  /** Counts a message that is not about a request, such as a ping or a change; these may be more frequent. */
  unrelated(): void;
  /** Counts a message for a call or a listener, such as progress; these may be the most frequent. */
  delivered(): void;
};

/** Counts each kind; calls `flooded` when the messages are so frequent that they would soon take all the CPU. */
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

/** The reason that is reported when such a server is ended. */
export const floodReason = "it floods the gateway with messages";
