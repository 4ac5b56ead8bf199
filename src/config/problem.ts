import { isAbsolute, relative } from "node:path";
import type { Path } from "../core/finding.ts";

/** Something wrong or doubtful in a configuration: where, which key, what, and what to do. */
export type Problem = {
  /** A file, or the flag or variable that set the value. */
  readonly file: string;
  /** From 1; null where there is no file. */
  readonly line: number | null;
  readonly column: number | null;
  /** `servers[0].timeout`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
};

/** Where a check puts what it finds. */
export type Report = {
  problem(path: Path, message: string): void;
  warn(path: Path, message: string): void;
};

/** A configuration that cannot be used; it lists everything that is wrong, not just the first thing. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];

  constructor(problems: readonly Problem[], warnings: readonly Problem[] = []) {
    super(problems.map((problem) => formatProblem(problem)).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
    this.warnings = warnings;
  }
}

/** `file:line:column: path: message`; the file as seen from `from` when it lies below. */
export function formatProblem(problem: Problem, from = ""): string {
  const { file, line, column, path, message } = problem;
  const near = from && isAbsolute(file) ? relative(from, file) : file;
  const place = line === null ? "" : `:${line}:${column}`;
  return `${near.startsWith("..") ? file : near}${place}: ${path && `${path}: `}${message}`;
}
