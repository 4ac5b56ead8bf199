import { createReadStream } from "node:fs";
import { within } from "../core/wait.ts";

// Files for checkpoints may lie on another host, and a network file system that is gone does not fail: it never
// answers.

/** How long one step with a file may take, ms. */
const patience = 5_000;

/** A file did not answer in time. */
export class FileUnanswered extends Error {
  constructor(file: string) {
    super(`${file} does not answer`);
    this.name = "FileUnanswered";
  }
}

/** Files with a step that still runs after its time. It holds a thread of the disk, of which there are few. */
const stuck = new Set<string>();

/**
 * What `step` resolves to. Throws `FileUnanswered` when it takes too long, and from then on at once, until it has
 * ended.
 */
export async function answered<T>(file: string, step: () => Promise<T>): Promise<T> {
  if (stuck.has(file)) throw new FileUnanswered(file);
  const running = step();
  return within(running, patience, null, () => {
    const free = (): void => void stuck.delete(file);
    stuck.add(file);
    void running.then(free, free);
    throw new FileUnanswered(file);
  });
}

/**
 * Ends the process, with the exit code that is set, where a step that still runs would keep it from ending by itself.
 */
export function endUnanswered(): void {
  // Whoever waits for what came of the command sets the exit code first.
  if (stuck.size > 0) setImmediate(() => process.exit());
}

const chunk = 1 << 20;

/** The text of a file, however long, in parts; each has its time. */
export async function* readAnswered(file: string): AsyncGenerator<string> {
  const parts = partsOf(file);
  try {
    for (;;) {
      const part: IteratorResult<string, undefined> = await answered(file, () => parts.next());
      if (part.done) return;
      yield part.value;
    }
  } finally {
    // Closes it where it is not read to its end, once it answers.
    void parts.return(undefined).catch(() => {});
  }
}

/** Opens the file only once its first part is asked for: an open that hangs holds a thread of the disk too. */
async function* partsOf(file: string): AsyncGenerator<string, undefined> {
  yield* createReadStream(file, { encoding: "utf8", highWaterMark: chunk }).iterator();
}
