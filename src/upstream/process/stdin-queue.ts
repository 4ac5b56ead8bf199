import { createOutbox, type Outbox } from "../link/outbox.ts";
import type { Pipe } from "../link/pipe-link.ts";

/** Lines on their way to a child. The queue is bounded: a child that does not read cannot fill the gateway's memory. */
export type StdinQueue = Pick<Pipe, "write" | "take">;

/** The part of Bun's FileSink that is used. */
type Sink = { write(text: string): number | Promise<number>; flush(): number | Promise<number> };

/** Lines that the pipe does not take at once wait in `outbox`. */
export function createStdinQueue(sink: Sink, outbox: Outbox = createOutbox()): StdinQueue {
  let blocked = false;

  const put = async (line: string): Promise<void> => {
    try {
      const results = [sink.write(line), sink.flush()].filter((result) => result instanceof Promise);
      if (results.length === 0) return;
      blocked = true;
      await Promise.all(results);
      drain();
    } catch {
      // The child has ended, which broke the pipe; its exit ends the requests.
      blocked = true;
    }
  };
  const drain = (): void => {
    blocked = false;
    for (const [, line] of outbox.drain()) {
      void put(line);
      if (blocked) return;
    }
  };
  return {
    write(key, line) {
      if (blocked) return outbox.put(key, line);
      void put(line);
      return true;
    },
    take: (key) => outbox.take(key),
  };
}
