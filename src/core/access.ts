import { statSync } from "node:fs";
import { codeOf, messageOf } from "./error-text.ts";

/** Why this user may not read a file, and whose it is; null where the error says something else. */
export function whyUnreadable(error: unknown, path: string): string | null {
  if (codeOf(error) !== "EACCES") return null;
  return `uid ${process.getuid?.()} may not read it (EACCES): ${ownership(path)}`;
}

/** Why a directory cannot be made or entered, and that another can be named `by` a flag. */
export const whyNoDirectory = (error: unknown, path: string, by: string): string =>
  `${cannot("make or enter", path, error, "make it for that user")}, or name another with ${by}`;

/** Why a file cannot be written. */
export const whyUnwritable = (error: unknown, path: string): string =>
  cannot("write", path, error, "let that user write there");

function cannot(act: string, path: string, error: unknown, usual: string): string {
  const code = codeOf(error);
  const remedy = remedies.get(code ?? "") ?? usual;
  return `uid ${process.getuid?.()} cannot ${act} ${path} (${code ?? messageOf(error)}); ${remedy}`;
}

/** Where it is not the user who is in the way. */
const remedies: ReadonlyMap<string, string> = new Map([
  ["ENOSPC", "its disk is full: make room"],
  ["EDQUOT", "the quota of that user is used up: make room"],
  ["EROFS", "its disk is read-only for this process"],
  ["ENOTDIR", "a part of that path is no directory"],
  ["ENAMETOOLONG", "that name is too long"],
  ["EFBIG", "it is larger than a file may be there, or one of that user"],
  ["EIO", "its disk fails"],
]);

/** Whose a file is, in words. */
export function ownership(path: string): string {
  try {
    const { uid, gid, mode } = statSync(path);
    return `it belongs to uid ${uid}, gid ${gid}, mode ${(mode & 0o7777).toString(8).padStart(4, "0")}`;
  } catch {
    return "a directory above it lets that user not in";
  }
}
