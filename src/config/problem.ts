import { isAbsolute, relative } from "node:path";
import type { Path } from "../core/finding.ts";

/** A problem or warning in a configuration: the place, the key, what is wrong, and what to do. */
export type Problem = {
  /** The file, or the flag or variable that set the value. */
  readonly file: string;
  /** Counted from 1; null if there is no file. */
  readonly line: number | null;
  readonly column: number | null;
  /** `servers[0].timeout`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
};

/** Returns a problem without a position in its file. */
export const unplaced = (file: string, message: string, path = ""): Problem => ({
  file,
  line: null,
  column: null,
  path,
  message,
});

export type Report = {
  problem(path: Path, message: string): void;
  warn(path: Path, message: string): void;
};

/** The error for an invalid configuration, with all of its problems. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map((problem) => formatProblem(problem)).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** Returns the file relative to `directory` if it is inside, else as it is. For `/` it stays absolute. */
export function nearName(file: string, directory: string): string {
  const near = relative(directory, file);
  return directory === "/" || near.startsWith("..") ? file : near;
}

/** Returns `file:line:column: path: message`; the file is relative to `from` if it is inside. */
export function formatProblem(problem: Problem, from = ""): string {
  const { file, line, column, path, message } = problem;
  const near = from && isAbsolute(file) ? nearName(file, from) : file;
  const position = line === null ? "" : `:${line}:${column}`;
  return `${near}${position}: ${path && `${path}: `}${message}`;
}
