import { createWindow } from "../window.ts";

/** Messages that belong to no request, per minute, before a server counts as broken. */
const most = 10_000;
const minuteMs = 60_000;

/**
 * Counts messages that belong to no request; calls `flooded` when there are so many that they would soon take all the
 * CPU.
 */
export function createStrayCount(count: (reason: string) => void, flooded: () => void): (reason: string) => void {
  const inMinute = createWindow(minuteMs, () => performance.now());
  return (reason) => {
    count(reason);
    if (inMinute() > most) flooded();
  };
}

/** The reason that is given when such a server is ended. */
export const flood = "it floods the gateway with messages that belong to nothing";

const ownId = /^[1-9]\d{0,14}$/;

/** Whether `id` is one that a link gave out, which are the numbers from 1 to `last`. */
export const isIssued = (id: string, last: number): boolean => ownId.test(id) && Number(id) <= last;
