import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { codeOf } from "../core/error-text.ts";
import { longestSeal } from "../core/ports.ts";
import { StoreFailed } from "../core/store.ts";
import { sealKeyBytes, type SealKeys } from "../session/seal.ts";

/** Age from which a start makes the current key the previous one, ms: what it sealed stays readable as long again. */
const generation = longestSeal;
/** What others than the owner may do with the file. */
const others = 0o077;

/**
 * Reads `seal.key` (two base64 lines, the current key first), creating it when it is missing and renewing it when it is
 * old. Throws StoreFailed for a file that holds something else or that others may read.
 */
export function loadSealKeys(path: string, now: number): SealKeys {
  if (!statSync(path, { throwIfNoEntry: false })) create(path);
  const known = statSync(path);
  if ((known.mode & others) !== 0) {
    throw new StoreFailed(
      `${path} is not its owner's alone; delete it if others have read it, else run: chmod 600 ${path}`,
    );
  }
  const [current, previous] = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => Buffer.from(line, "base64"));
  if (current?.length !== sealKeyBytes || previous?.length !== sealKeyBytes) {
    throw new StoreFailed(`${path} holds no two keys; delete it: only handles that callers hold now are lost`);
  }
  return now - known.mtimeMs < generation ? [current, previous] : replace(path, [fresh(), current]);
}

const fresh = (): Uint8Array => crypto.getRandomValues(new Uint8Array(sealKeyBytes));

/** Of several processes that start at once the first one's file stays. */
function create(path: string): void {
  const temporary = writeBeside(path, [fresh(), fresh()]);
  try {
    linkSync(temporary, path);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  } finally {
    unlinkSync(temporary);
  }
}

function replace(path: string, keys: SealKeys): SealKeys {
  renameSync(writeBeside(path, keys), path);
  return keys;
}

function writeBeside(path: string, keys: SealKeys): string {
  const temporary = `${path}.${process.pid}`;
  const fd = openSync(temporary, "w", 0o600);
  try {
    writeSync(fd, keys.map((key) => `${Buffer.from(key).toString("base64")}\n`).join(""));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return temporary;
}
