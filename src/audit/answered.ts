import { createReadStream } from "node:fs";
import { within } from "../core/wait.ts";

// Checkpoint files may lie on another host, and an unreachable network file system does not fail: it never answers.

/** Timeout of one step with a file, ms. */
const patience = 5_000;

/** A file did not answer in time. */
export class FileUnanswered extends Error {
  constructor(file: string) {
    super(`${file} does not answer`);
    this.name = "FileUnanswered";
  }
}

/** Files with a step that still runs after its timeout. Each holds one of the few threads for disk access. */
const stuck = new Set<string>();

/** Runs `step`; throws `FileUnanswered` if it takes too long, and at once while a timed-out step still runs. */
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

/** Exits the process with the current exit code if a step that still runs would keep it alive. */
export function exitIfStuck(): void {
  // Lets the caller that awaits the command's result set the exit code first.
  if (stuck.size > 0) setImmediate(() => process.exit());
}

const chunk = 1 << 20;

/** Yields the text of a file of any length in parts, each with its own timeout. */
export async function* readAnswered(file: string): AsyncGenerator<string> {
  const parts = partsOf(file);
  try {
    for (;;) {
      const part: IteratorResult<string, undefined> = await answered(file, () => parts.next());
      if (part.done) return;
      yield part.value;
    }
  } finally {
    // Closes the file if it was not read to its end, as soon as it answers.
    void parts.return(undefined).catch(() => {});
  }
}

/** Opens the file only when its first part is requested: an open that hangs holds a disk thread too. */
async function* partsOf(file: string): AsyncGenerator<string, undefined> {
  yield* createReadStream(file, { encoding: "utf8", highWaterMark: chunk }).iterator();
}
