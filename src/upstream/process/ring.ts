/** The newest lines of a stream; new lines evict the oldest. */
type Ring = {
  push(line: string): void;
  /** Returns the newest `count` lines, oldest first. */
  last(count: number): string[];
  /** Number of lines pushed so far. Lines are numbered from 0. */
  readonly pushed: number;
  /** The number of the oldest line that is kept; `pushed` if there is none. */
  readonly oldest: number;
  /** Returns the line with a number from `oldest` up to, but not including, `pushed`. */
  at(number: number): string;
};

/** Creates a ring of at most `max` characters; a longer line is not kept. */
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
