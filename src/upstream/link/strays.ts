import { createWindow } from "../window.ts";

/** Messages that belong to nothing, per minute, before a server is taken for broken. */
const most = 10_000;
const minuteMs = 60_000;

/** Counts what belongs to nothing; calls `flooded` when a server sends little else, before it takes all the CPU. */
export function createStrayCount(count: (reason: string) => void, flooded: () => void): (reason: string) => void {
  const inMinute = createWindow(minuteMs, () => performance.now());
  return (reason) => {
    count(reason);
    if (inMinute() > most) flooded();
  };
}

/** Why such a server is ended. */
export const flood = "it floods the gateway with messages that belong to nothing";

const ownId = /^[1-9]\d{0,14}$/;

/** Whether this is one of the ids up to `last`, which a link gave out in turn. */
export const isIssued = (id: string, last: number): boolean => ownId.test(id) && Number(id) <= last;
