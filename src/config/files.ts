import { accessSync, constants, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { whyUnreadable } from "../core/access.ts";
import { codeOf } from "../core/error-text.ts";
import type { Finding, Path } from "../core/finding.ts";
import type { Config } from "./schema.ts";

/**
 * The files and directories that are named, are needed for the start, and are not there or may not be read by this user.
 * Whether there is a directory that this user may not look for is left to the user who runs the gateway.
 */
export function unusableFiles({ listen: { tls }, audit }: Config, directory: string): Finding[] {
  const finding = (path: Path, message: string | null): Finding[] => (message === null ? [] : [{ path, message }]);
  const read = (option: "cert" | "key"): Finding[] =>
    tls ? finding(["listen", "tls", option], whyNotRead(resolve(directory, tls[option]))) : [];
  // Making it could begin a new log where the disk of the old one is only not mounted.
  const noDirectory = "its directory does not exist; make it first";
  const isGone = audit.path !== null && isMissing(resolve(directory, dirname(audit.path)));
  return [...read("cert"), ...read("key"), ...finding(["audit", "path"], isGone ? noDirectory : null)];
}

function whyNotRead(file: string): string | null {
  try {
    accessSync(file, constants.R_OK);
    return null;
  } catch (error) {
    const denied = whyUnreadable(error, file);
    if (denied) return `${denied}; let its group read it, or run this as a user who may`;
    return isMissing(file) ? "there is no such file" : `cannot be read (${codeOf(error) ?? "error"})`;
  }
}

function isMissing(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}
