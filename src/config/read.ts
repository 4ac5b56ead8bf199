import { whyUnreadable } from "../core/access.ts";
import { codeOf } from "../core/error-text.ts";
import { brokenLink, readRegularSync, UnfitFile } from "../core/files.ts";
import { ConfigError, unplaced } from "./problem.ts";

const maxBytes = 4 * 1024 ** 2;

/** Decodes the bytes of a configuration file; throws ConfigError if they are not UTF-8. */
export function configText(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ConfigError([unplaced(file, "is not UTF-8 text")]);
  }
}

/** Reads a configuration file of at most 4 MiB; throws ConfigError if it is larger, not regular or unreadable. */
export function readConfigFile(path: string): Uint8Array {
  try {
    return readRegularSync(path, maxBytes);
  } catch (error) {
    throw new ConfigError([unplaced(path, whyNot(error, path))]);
  }
}

function whyNot(error: unknown, path: string): string {
  if (error instanceof UnfitFile) {
    const most = `is larger than ${maxBytes / 1024 ** 2} MiB; keep keys in the state directory instead`;
    return error.large ? most : "is not a regular file";
  }
  const code = codeOf(error) ?? "error";
  if (code === "ENOENT") {
    const broken = brokenLink(path);
    if (broken === null) return "file not found; `mcpgw init` writes one";
    const { link, to } = broken;
    return `${link === path ? "is" : `is reached through ${link},`} a link to ${to}, which does not exist`;
  }
  const denied = whyUnreadable(error, path);
  return denied ? `${denied}; let its group read it, or run this as a user who may` : `cannot be read (${code})`;
}
