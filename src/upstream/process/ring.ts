/** The newest lines of a stream; older ones leave as new ones come. */
type Ring = {
  push(line: string): void;
  /** The newest `count` lines, oldest first. */
  last(count: number): string[];
  /** How many lines have been pushed. They are counted from 0 on. */
  readonly pushed: number;
  /** The number of the oldest line that is held; `pushed` if there is none. */
  readonly oldest: number;
  /** The line of a number from `oldest` on, below `pushed`. */
  at(number: number): string;
};

/** A ring that holds at most `max` characters; a line longer than that is not kept. */
export function createRing(max: number): Ring {
  const lines = new Map<number, string>();
  let held = 0;
  let pushed = 0;
  let oldest = 0;
  return {
    get pushed() {
      return pushed;
    },
    get oldest() {
      return oldest;
    },
    at: (number) => lines.get(number) ?? "",
    push(line) {
      lines.set(pushed++, line);
      for (held += line.length; held > max; oldest++) {
        held -= lines.get(oldest)?.length ?? 0;
        lines.delete(oldest);
      }
    },
    last: (count) => [...lines.values()].slice(Math.max(0, lines.size - count)),
  };
}
