import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Finding, Path } from "../core/finding.ts";
import type { Config } from "./schema.ts";

/**
 * The files and directories that are named, have to be there before the start, and are not. What this user may not look
 * into is left to the user who runs the gateway.
 */
export function missingFiles({ listen: { tls }, audit }: Config, directory: string): Finding[] {
  const missing = (path: Path, place: string, message: string): Finding[] =>
    isMissing(resolve(directory, place)) ? [{ path, message }] : [];
  return [
    ...(tls ? missing(["listen", "tls", "cert"], tls.cert, "there is no such file") : []),
    ...(tls ? missing(["listen", "tls", "key"], tls.key, "there is no such file") : []),
    // Making it could begin a new log where the disk of the old one is only not mounted.
    ...(audit.path === null
      ? []
      : missing(["audit", "path"], dirname(audit.path), "its directory does not exist; make it first")),
  ];
}

function isMissing(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}
