import { isAbsolute, relative } from "node:path";
import type { Path } from "../core/finding.ts";

/** A problem or doubt in a configuration: where, which key, what is wrong, and what to do. */
export type Problem = {
  /** A file, or the flag or variable that set the value. */
  readonly file: string;
  /** Counted from 1; null if there is no file. */
  readonly line: number | null;
  readonly column: number | null;
  /** `servers[0].timeout`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
};

/** A problem that has no place in its file; `path` as for `Problem`. */
export const unplaced = (file: string, message: string, path = ""): Problem => ({
  file,
  line: null,
  column: null,
  path,
  message,
});

/** Receives the findings of a check. */
export type Report = {
  problem(path: Path, message: string): void;
  warn(path: Path, message: string): void;
};

/** A configuration that cannot be used, with everything that is wrong, not just the first thing. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map((problem) => formatProblem(problem)).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** A file in short for who works in `directory`: relative to that if it lies below. Below the root all files do. */
export function nearName(file: string, directory: string): string {
  const near = relative(directory, file);
  return directory === "/" || near.startsWith("..") ? file : near;
}

/** `file:line:column: path: message`; the file is relative to `from` if it lies below. */
export function formatProblem(problem: Problem, from = ""): string {
  const { file, line, column, path, message } = problem;
  const near = from && isAbsolute(file) ? nearName(file, from) : file;
  const position = line === null ? "" : `:${line}:${column}`;
  return `${near}${position}: ${path && `${path}: `}${message}`;
}
