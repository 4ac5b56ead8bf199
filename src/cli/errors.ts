/** Exit codes of the commands; `audit verify` has more of its own. */
export const exit = { done: 0, failed: 1, usage: 2, unreachable: 4 } as const;

/** A command that could not do its work, with the exit code that says so. */
export class Failed extends Error {
  readonly exit: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = "Failed";
    this.exit = code;
  }
}

/** A command line that is wrong; nothing was done. */
export class UsageError extends Failed {
  constructor(message: string) {
    super(exit.usage, message);
  }
}
