/** Exit codes of every command. */
export const exit = { done: 0, failed: 1, usage: 2, unproven: 3, unreachable: 4 } as const;

/** A command line that cannot be obeyed; nothing was done. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}
