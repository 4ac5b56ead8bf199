import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { whyUnreadable } from "../core/access.ts";
import { codeOf } from "../core/error-text.ts";
import { ConfigError, unplaced } from "./problem.ts";

const maxBytes = 4 * 1024 ** 2;

/** The text of a configuration file's bytes; throws ConfigError if it is none. */
export function configText(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ConfigError([unplaced(file, "is not UTF-8 text")]);
  }
}

/** The bytes of a configuration file, at most 4 MiB; throws ConfigError for anything that is no such file. */
export function readConfigFile(path: string): Uint8Array {
  const fail = (message: string): never => {
    throw new ConfigError([unplaced(path, message)]);
  };
  let fd: number;
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error) ?? "error";
    if (code === "ENOENT") return fail("there is no such file; `mcpgw init` writes one");
    const denied = whyUnreadable(error, path);
    return fail(
      denied ? `${denied}; let its group read it, or run this as a user who may` : `cannot be read (${code})`,
    );
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return fail("is no regular file");
    if (stat.size > maxBytes) return fail(`is over ${maxBytes / 1024 ** 2} MiB; keys belong into the state directory`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}
