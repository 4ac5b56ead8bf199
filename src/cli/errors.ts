/** Exit codes of the commands; `audit verify` has additional ones. */
export const exit = { done: 0, failed: 1, usage: 2, unreachable: 4 } as const;

/** The failure of a command, with its exit code. */
export class Failed extends Error {
  readonly exit: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = "Failed";
    this.exit = code;
  }
}

/** An invalid command line; nothing was done. */
export class UsageError extends Failed {
  constructor(message: string) {
    super(exit.usage, message);
  }
}
