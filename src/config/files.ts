import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { whyUnreadable } from "../core/access.ts";
import { orNull } from "../core/attempt.ts";
import { codeOf } from "../core/error-text.ts";
import type { Finding, Path } from "../core/finding.ts";
import { programsWithArguments } from "./command-lines.ts";
import { pairFaults } from "./key-pair.ts";
import type { Config } from "./schema.ts";

/**
 * Finds named files and directories that must exist before startup but do not. Places that this user may not look into
 * are skipped, since the user who runs the gateway may have access.
 */
export const missingFiles = (config: Config, directory: string): Finding[] => faults(config, directory, whyMissing);

/** Finds missing files, and also files that a daemon cannot start with. Only a starting daemon reads them. */
export function unusableFiles(config: Config, directory: string): Finding[] {
  const found = faults(config, directory, whyUnusable);
  const { tls } = config.listen;
  if (!tls || found.some(({ path: [top] }) => top === "listen")) return found;
  const files = { cert: resolve(directory, tls.cert), key: resolve(directory, tls.key) };
  // A pipe can be read only once, which is left to the daemon.
  if (![files.cert, files.key].every((file) => statSync(file).isFile())) return found;
  const pem = { cert: readFileSync(files.cert, "utf8"), key: readFileSync(files.key, "utf8") };
  const broken = pairFaults(pem, files).map(({ option, message }) => ({ path: ["listen", "tls", option], message }));
  return [...broken, ...found];
}

type Why = (path: string) => string | null;

function faults(config: Config, directory: string, why: Why): Finding[] {
  const { listen, audit } = config;
  const { tls } = listen;
  const finding = (path: Path, message: string | null): Finding[] => (message === null ? [] : [{ path, message }]);
  const read = (option: "cert" | "key"): Finding[] =>
    tls ? finding(["listen", "tls", option], why(resolve(directory, tls[option]))) : [];
  // Creating it could start a new log when the disk with the old one is merely not mounted.
  const noDirectory = "its directory does not exist; create it first";
  const isGone = audit.path !== null && whyMissing(resolve(directory, dirname(audit.path))) !== null;
  const gone = finding(["audit", "path"], isGone ? noDirectory : null);
  return [...read("cert"), ...read("key"), ...gone, ...programsWithArguments(config, directory)];
}

const whyMissing = (path: string): string | null =>
  orNull(() => (statSync(path, { throwIfNoEntry: false }) ? null : "file not found"));

// The file is not read, since it may be a pipe.
function whyUnusable(file: string): string | null {
  try {
    accessSync(file, constants.R_OK);
    return statSync(file).isDirectory() ? "is a directory" : null;
  } catch (error) {
    const denied = whyUnreadable(error, file);
    if (denied) return `${denied}; let that user read it, or run this as a user who may`;
    return whyMissing(file) ?? `cannot be read (${codeOf(error) ?? "error"})`;
  }
}
