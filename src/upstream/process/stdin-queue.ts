import { maxTotalBytes, Outbox } from "../link/outbox.ts";

/** The part of Bun's FileSink that is used. */
type Sink = { write(text: string): number | Promise<number>; flush(): number | Promise<number> };

/** Creates a bounded queue of lines for a child: one that does not read cannot fill the gateway's memory. */
export function createStdinQueue(sink: Sink, most = maxTotalBytes): Outbox {
  let blocked = false;
  const put = async (line: string): Promise<void> => {
    try {
      const results = [sink.write(line), sink.flush()].filter((result) => result instanceof Promise);
      if (results.length === 0) return;
      blocked = true;
      await Promise.all(results);
      blocked = false;
      queue.flush();
    } catch {
      // The child has ended, which broke the pipe; its exit ends the requests.
      blocked = true;
    }
  };
  const send = (_: string, line: string): void => void put(line);
  const queue = new Outbox(() => (blocked ? null : send), most);
  return queue;
}
