import { within } from "../core/wait.ts";

/** Where a stream's events go: a line sender that may be full. */
export type Sink = {
  event(value: unknown): void;
  gap(missed: number): void;
  /** True if more events should wait: the kernel has not yet taken too much of what was sent. */
  full(): boolean;
  drained(): Promise<void>;
};

/** Sends every event once the one before is on its way, so a slow reader slows the source. */
export async function pumpAll(events: AsyncIterable<unknown>, sink: Sink, signal: AbortSignal): Promise<void> {
  for await (const value of events) {
    if (signal.aborted) return;
    sink.event(value);
    await sink.drained();
  }
}

/**
 * Sends events as they come. A reader that stays full for `patience` ms loses events until it has caught up, and is
 * told how many. The source is never held up longer than that.
 */
export async function pumpLive(
  events: AsyncIterable<unknown>,
  sink: Sink,
  signal: AbortSignal,
  patience: number,
): Promise<void> {
  let missed = 0;
  let caughtUp = Promise.resolve();
  const tell = () => {
    sink.gap(missed);
    missed = 0;
  };
  for await (const value of events) {
    if (signal.aborted) return;
    if (missed > 0) {
      missed++;
      continue;
    }
    if (sink.full()) await within(sink.drained(), patience, null, () => {});
    if (!sink.full()) {
      sink.event(value);
      continue;
    }
    missed = 1;
    caughtUp = sink.drained().then(tell);
  }
  await caughtUp;
}
