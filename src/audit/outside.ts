import { existsSync } from "node:fs";
import { mkdir, open, readdir, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { codeOf } from "../core/error-text.ts";
import { naming, readRegular, readRegularSync, replaceOwnFile, syncDirectory } from "../core/files.ts";
import { objectIn } from "../core/json.ts";
import { installOf } from "./signing-key.ts";

// Files kept outside the state directory, so that write access to the chain is not enough to change them.

/** The newest durable record of a chain, as noted outside the state directory. */
export type Head = { readonly chain: string; readonly seq: number; readonly leaf: string };

/** Returns the heads directory of the installation that signs with this key. */
export function installDir(headsDir: string, publicKey: Uint8Array): string {
  return join(headsDir, installOf(publicKey));
}

/** Returns the default file for a chain's checkpoints. */
export function checkpointFile(dir: string, chain: string): string {
  return join(dir, `${chain}.checkpoints`);
}

/** Returns the file that notes the newest durable record of a chain. */
export function headFile(dir: string, chain: string): string {
  return join(dir, `${chain}.head`);
}

/** Returns the file with the public key that checkpoints are verified with. */
export function publicKeyFile(dir: string): string {
  return join(dir, "signing.pub");
}

/** Returns the file that says where a chain is stored if it is not in its state directory. */
const chainPathFile = (dir: string, chain: string): string => join(dir, `${chain}.path`);

/** Notes where a chain is stored, for commands that do not read the configuration; null: in its state directory. */
export async function noteChainPath(dir: string, chain: string, path: string | null): Promise<void> {
  if (path === notedChainPath(dir, chain)) return;
  if (path === null) await unlink(chainPathFile(dir, chain));
  else await replaceOwnFile(chainPathFile(dir, chain), `${path}\n`);
}

/** Returns the noted location of a chain; null if none was noted, so the chain should be in its state directory. */
export function notedChainPath(dir: string, chain: string): string | null {
  const file = chainPathFile(dir, chain);
  return existsSync(file) ? readRegularSync(file).toString().trimEnd() : null;
}

/** Replaces the head note of a chain atomically. */
export async function writeHead(dir: string, head: Head): Promise<void> {
  await replaceOwnFile(headFile(dir, head.chain), `${JSON.stringify(head)}\n`);
}

/** Reads the head note of a chain; null if there is none. Throws if it is unreadable. */
export async function readHead(dir: string, chain: string): Promise<Head | null> {
  const text = await fileText(headFile(dir, chain));
  if (text === null) return null;
  const { seq, leaf } = objectIn(text);
  if (typeof seq !== "number" || typeof leaf !== "string") {
    const file = headFile(dir, chain);
    throw new Error(`the head note ${file} is damaged; restore it, or move it away and keep it as evidence`);
  }
  return { chain, seq, leaf };
}

/** Lists the chains that have a head note. */
export async function notedChains(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch(() => []);
  return names.flatMap((name) => /^([a-z0-9-]+)\.head$/.exec(name)?.[1] ?? []);
}

/** Separates the notes of a file, and follows the last one unless it was cut short. */
const gap = "\n\n";

/** Start of every checkpoint: the origin names some installation. */
const opening = "mcpgw/";
/** Start of a checkpoint that follows the rest of another one: its origin and the number of records. */
const following = /\nmcpgw\/\S+\n\d/;
/** Number of leading bytes of a file in which a checkpoint must begin, wherever the file was cut. */
const looked = 1024;

/**
 * Appends a checkpoint to a file; resolves to whether the previous note was cut short, for example by a power cut. That
 * note stays, since evidence is never removed, but is separated so that the new note is not read as its end. Throws for
 * a file with other content, which a note would damage.
 */
export async function appendCheckpoint(path: string, note: string): Promise<boolean> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // A power cut may replace the last appended note by zeros, or leave only its first letters.
  const start = (await partOf(path, 0, looked)).replaceAll("\0", "");
  const isBegun = start.split(gap).every((part) => opening.startsWith(part));
  if (!isBegun && !start.startsWith(opening) && !following.test(start)) {
    throw new Error(
      `${path} holds something other than checkpoints and was not changed; give checkpoints a file of their own`,
    );
  }
  const end = await tailOf(path, gap.length);
  const torn = end !== "" && end !== gap;
  // A power cut could lose the name of a new file whose text was synced, so the empty file is synced first. Syncing the
  // directory after the text would not do: if that failed, the note would be in the file and be written a second time.
  if (start === "") await naming(path, makeEmpty(path));
  await naming(path, append(path, `${torn ? gap : ""}${note}\n`));
  return torn;
}

/** Appends text and resolves when it is on the disk; Bun ignores the option `flush`. */
async function append(path: string, text: string): Promise<void> {
  await using file = await open(path, "a", 0o600);
  await file.appendFile(text);
  await file.sync();
}

/** Creates a file if missing, and syncs its directories, which may be new too, against a power cut. */
async function makeEmpty(path: string): Promise<void> {
  await (await open(path, "a", 0o600)).close();
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    await syncDirectory(directory);
    if (directory === dirname(directory)) return;
  }
}

/** Returns a file's text, or null if there is no such file. */
export async function fileText(path: string): Promise<string | null> {
  try {
    return await readRegular(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw error;
  }
}

/** Returns the end of a file, at most `bytes` long; empty if there is no file. */
export const tailOf = (path: string, bytes: number): Promise<string> => partOf(path, -bytes, bytes);

/** Returns up to `bytes` bytes of a file starting at `from`, which counts from the end if it is negative. */
async function partOf(path: string, from: number, bytes: number): Promise<string> {
  const info = await stat(path).catch(() => null);
  if (!info) return "";
  await using file = await open(path, "r");
  const start = from < 0 ? Math.max(0, info.size + from) : from;
  const reading = file.read(Buffer.alloc(Math.min(bytes, info.size)), 0, null, start);
  const { buffer, bytesRead } = await naming(path, reading);
  return buffer.toString("utf8", 0, bytesRead);
}
