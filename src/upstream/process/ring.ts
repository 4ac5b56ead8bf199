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
  let lines: string[] = [];
  let first = 0;
  let held = 0;
  let pushed = 0;
  return {
    get pushed() {
      return pushed;
    },
    get oldest() {
      return pushed - (lines.length - first);
    },
    at: (number) => lines[lines.length - (pushed - number)] ?? "",
    push(line) {
      pushed++;
      lines.push(line);
      held += line.length;
      while (held > max) {
        held -= lines[first]?.length ?? 0;
        lines[first++] = "";
      }
      // Moves the rest to the front once half is gone: constant cost per line.
      if (first * 2 > lines.length) {
        lines = lines.slice(first);
        first = 0;
      }
    },
    last: (count) => lines.slice(Math.max(first, lines.length - count)),
  };
}
