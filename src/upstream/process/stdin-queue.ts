/** What is written to a child: a child that does not read fills the queue, never the gateway's memory. */
export type StdinQueue = {
  /** Takes a line without waiting; false when the queue is full. */
  write(key: string, line: string): boolean;
  /** Takes back what was not written yet; true when the child never saw it. */
  take(key: string): boolean;
};

/** The part of Bun's FileSink that is used. */
export type Sink = { write(text: string): number | Promise<number>; flush(): number | Promise<number> };

/** `max` bytes may wait besides what the pipe and one write hold. */
export function createStdinQueue(sink: Sink, max: number): StdinQueue {
  const waiting = new Map<string, string>();
  let bytes = 0;
  let blocked = false;

  const put = async (line: string): Promise<void> => {
    try {
      const results = [sink.write(line), sink.flush()].filter((result) => result instanceof Promise);
      if (results.length === 0) return;
      blocked = true;
      await Promise.all(results);
      drain();
    } catch {
      // A child that is gone breaks the pipe; its exit is what ends the requests.
      blocked = true;
    }
  };
  const drain = (): void => {
    blocked = false;
    for (const [key, line] of waiting) {
      take(key);
      void put(line);
      if (blocked) return;
    }
  };
  const take = (key: string): boolean => {
    bytes -= Buffer.byteLength(waiting.get(key) ?? "");
    return waiting.delete(key);
  };
  return {
    write(key, line) {
      if (!blocked) {
        void put(line);
        return true;
      }
      const size = Buffer.byteLength(line);
      if (bytes + size > max) return false;
      bytes += size;
      waiting.set(key, line);
      return true;
    },
    take,
  };
}
