import { statSync } from "node:fs";
import { codeOf, messageOf } from "./error-text.ts";

/** Why this user may not read a file, and whose it is; null where the error says something else. */
export function whyUnreadable(error: unknown, path: string): string | null {
  if (codeOf(error) !== "EACCES") return null;
  return `uid ${process.getuid?.()} may not read it (EACCES): ${ownership(path)}`;
}

/** Why a directory cannot be made or used, and what helps; `instead` is another way out. */
export const whyNoDirectory = (error: unknown, path: string, instead: string | null): string =>
  cannot("make or use", path, error, ["make it for that user", instead]);

/** Why a file cannot be written, and what helps. */
export const whyUnwritable = (error: unknown, path: string, instead: string | null = null): string =>
  cannot("write", path, error, ["let that user write there", instead]);

function cannot(act: string, path: string, error: unknown, [usual, instead]: readonly [string, string | null]): string {
  const code = codeOf(error);
  const [why, remedy] = reasons.get(code ?? "") ?? [null, usual];
  const help = [remedy, instead].filter(Boolean).join(", or ");
  const told = [why, help].filter(Boolean).join(": ");
  return `uid ${process.getuid?.()} cannot ${act} ${path} (${code ?? messageOf(error)}); ${told}`;
}

/** Where it is not the user who is in the way: what is, and what can be done about it. */
const reasons: ReadonlyMap<string, readonly [why: string, remedy?: string]> = new Map([
  ["ENOSPC", ["its disk is full", "make room"]],
  ["EDQUOT", ["the quota of that user is used up", "make room"]],
  ["EROFS", ["its disk is read-only for this process"]],
  ["ENOTDIR", ["a part of that path is no directory"]],
  ["ENOENT", ["a part of that path is a link that leads nowhere", "make what it leads to"]],
  ["EEXIST", ["something else is in its place, or a link that leads nowhere", "move that away"]],
  ["ENAMETOOLONG", ["that name is too long"]],
  ["EFBIG", ["it is larger than a file may be there, or one of that user"]],
  ["EIO", ["its disk fails"]],
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
