/** What only the entry file `main.ts` can know. */
export type Self = {
  /** Returns the argument vector that runs this program again with these arguments. */
  command(...args: string[]): string[];
  /** URL of the housekeeping Worker's entry file. */
  readonly housekeeper: URL;
  readonly version: string;
};

/** `entry` is the path of `main.ts`. In the compiled binary, the executable itself is the program. */
export function selfCommand(entry: string, ...args: string[]): string[] {
  return entry.startsWith("/$bunfs/") ? [process.execPath, ...args] : [process.execPath, entry, ...args];
}
