import { statSync } from "node:fs";
import { codeOf, messageOf } from "./error-text.ts";

/** Says that the current user may not read a file and who owns it; null if the error is not EACCES. */
export function whyUnreadable(error: unknown, path: string): string | null {
  if (codeOf(error) !== "EACCES") return null;
  return `uid ${process.getuid?.()} may not read it (EACCES): ${ownership(path)}`;
}

/** Says why a directory cannot be created or opened, and that the flag `by` can name another one. */
export const whyNoDirectory = (error: unknown, path: string, by: string): string =>
  `${cannot("create or open", path, error, "create it for that user")}, or name another with ${by}`;

/** Says why a file cannot be written. */
export const whyUnwritable = (error: unknown, path: string): string =>
  cannot("write", path, error, "let that user write there");

function cannot(act: string, path: string, error: unknown, usual: string): string {
  const code = codeOf(error);
  const remedy = remedies.get(code ?? "") ?? usual;
  return `uid ${process.getuid?.()} cannot ${act} ${path} (${code ?? messageOf(error)}); ${remedy}`;
}

/** Remedies for errors that no change of owner or mode can fix. */
const remedies: ReadonlyMap<string, string> = new Map([
  ["ENOSPC", "the disk is full; free some space"],
  ["EDQUOT", "the disk quota of that user is exhausted; free some space"],
  ["EROFS", "the file system is read-only for this process"],
  ["ENOTDIR", "a component of that path is not a directory"],
  ["ENAMETOOLONG", "that name is too long"],
  ["EFBIG", "it exceeds the maximum file size of that file system or user"],
  ["EIO", "the disk reports an I/O error"],
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
