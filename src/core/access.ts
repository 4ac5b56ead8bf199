import { statSync } from "node:fs";
import { codeOf, messageOf } from "./error-text.ts";

/** Says that the current user may not read a file and who owns it; null if the error is not EACCES. */
export function whyUnreadable(error: unknown, path: string): string | null {
  if (codeOf(error) !== "EACCES") return null;
  return `uid ${process.getuid?.()} may not read it (EACCES): ${ownership(path)}`;
}

/** Says why a directory cannot be created or opened, and what helps; `instead` is another way out. */
export const whyNoDirectory = (error: unknown, path: string, instead: string | null): string =>
  cannot("create or open", path, error, ["create it for that user", instead]);

/** Says why a file cannot be written, and what helps. */
export const whyUnwritable = (error: unknown, path: string, instead: string | null = null): string =>
  cannot("write", path, error, ["let that user write there", instead]);

function cannot(act: string, path: string, error: unknown, [usual, instead]: readonly [string, string | null]): string {
  const code = codeOf(error);
  const [why, remedy] = reasons.get(code ?? "") ?? [null, usual];
  const help = [remedy, instead].filter(Boolean).join(", or ");
  const advice = [why, help].filter(Boolean).join("; ");
  return `uid ${process.getuid?.()} cannot ${act} ${path} (${code ?? messageOf(error)}); ${advice}`;
}

/** Errors that no change of owner or mode can fix: the reason, and a remedy if there is one. */
const reasons: ReadonlyMap<string, readonly [why: string, remedy?: string]> = new Map([
  ["ENOSPC", ["the disk is full", "free some space"]],
  ["EDQUOT", ["the disk quota of that user is exhausted", "free some space"]],
  ["EROFS", ["the file system is read-only for this process"]],
  ["ENOTDIR", ["a component of that path is not a directory"]],
  ["ENOENT", ["a component of that path is a dangling link", "create its target"]],
  ["EEXIST", ["something else is in its place, or a dangling link", "move that away"]],
  ["ENAMETOOLONG", ["that name is too long"]],
  ["EFBIG", ["it exceeds the maximum file size of that file system or user"]],
  ["EIO", ["the disk reports an I/O error"]],
]);

/** Describes the owner and mode of a file. */
export function ownership(path: string): string {
  try {
    const { uid, gid, mode } = statSync(path);
    return `it belongs to uid ${uid}, gid ${gid}, mode ${(mode & 0o7777).toString(8).padStart(4, "0")}`;
  } catch {
    return "permission denied for a parent directory";
  }
}
