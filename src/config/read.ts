import { whyUnreadable } from "../core/access.ts";
import { codeOf } from "../core/error-text.ts";
import { brokenLink, readRegularSync, UnfitFile } from "../core/files.ts";
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
  try {
    return readRegularSync(path, maxBytes);
  } catch (error) {
    throw new ConfigError([unplaced(path, whyNot(error, path))]);
  }
}

function whyNot(error: unknown, path: string): string {
  if (error instanceof UnfitFile) {
    const most = `is over ${maxBytes / 1024 ** 2} MiB; keys belong into the state directory`;
    return error.large ? most : "is no regular file";
  }
  const code = codeOf(error) ?? "error";
  if (code === "ENOENT") {
    const broken = brokenLink(path);
    if (broken === null) return "there is no such file; `mcpgw init` writes one";
    const { link, to } = broken;
    return `${link === path ? "is" : `lies behind ${link},`} a link to ${to}, which is not there`;
  }
  const denied = whyUnreadable(error, path);
  return denied ? `${denied}; let its group read it, or run this as a user who may` : `cannot be read (${code})`;
}
