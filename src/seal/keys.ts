import { existsSync, statSync } from "node:fs";
import { createFile, readRegularSync, replaceFile } from "../core/files.ts";
import { maxSealMs } from "../core/ports.ts";
import { StoreFailed } from "../core/store.ts";
import { sealKeyBytes, type SealKeys } from "./seal.ts";

/** Age in ms at which a start makes the current key the previous one, which opens values for as long again. */
const generation = maxSealMs;
/** Permission bits of all users except the owner. */
const others = 0o077;

/**
 * Reads `seal.key` (two base64 lines, the current key first), creating it if it is missing and renewing it if it is
 * old. Throws StoreFailed for a file with other contents or one that other users can access.
 */
export async function loadSealKeys(path: string, now: number): Promise<SealKeys> {
  if (!existsSync(path)) await createFile(path, textOf([fresh(), fresh()]));
  const known = statSync(path);
  if ((known.mode & others) !== 0) {
    throw new StoreFailed(
      `${path} is accessible to other users; delete it if others have read it, otherwise run: chmod 600 ${path}`,
    );
  }
  const [current, previous] = readRegularSync(path)
    .toString()
    .trim()
    .split("\n")
    .map((line) => Buffer.from(line, "base64"));
  if (current?.length !== sealKeyBytes || previous?.length !== sealKeyBytes) {
    throw new StoreFailed(`${path} does not contain two keys; delete it: only handles that callers hold now are lost`);
  }
  if (now - known.mtimeMs < generation) return [current, previous];
  const renewed: SealKeys = [fresh(), current];
  await replaceFile(path, textOf(renewed));
  return renewed;
}

const fresh = (): Uint8Array => crypto.getRandomValues(new Uint8Array(sealKeyBytes));

const textOf = (keys: SealKeys): string => keys.map((key) => `${Buffer.from(key).toString("base64")}\n`).join("");
