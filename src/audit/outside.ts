import { existsSync } from "node:fs";
import { mkdir, open, readdir, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { codeOf } from "../core/error-text.ts";
import { naming, readRegular, readRegularSync, replaceOwnFile, syncDirectory } from "../core/files.ts";
import { objectIn } from "../core/json.ts";
import { installOf } from "./signing-key.ts";

// What is kept outside the state directory: being able to change the chain is not enough to change this.

/** The newest durable record of a chain, as noted outside. */
export type Head = { readonly chain: string; readonly seq: number; readonly leaf: string };

/** Directory of the heads of the installation that signs with this key. */
export function installDir(headsDir: string, publicKey: Uint8Array): string {
  return join(headsDir, installOf(publicKey));
}

/** File that a chain's checkpoints are appended to by default. */
export function checkpointFile(dir: string, chain: string): string {
  return join(dir, `${chain}.checkpoints`);
}

/** File that notes the newest durable record of a chain. */
export function headFile(dir: string, chain: string): string {
  return join(dir, `${chain}.head`);
}

/** File with the public key that checkpoints are verified with. */
export function publicKeyFile(dir: string): string {
  return join(dir, "signing.pub");
}

/** File that says where a chain lies if it is not in its state directory. */
const chainPathFile = (dir: string, chain: string): string => join(dir, `${chain}.path`);

/** Notes where a chain lies, for commands that know no configuration; null: in its state directory. */
export async function noteChainPath(dir: string, chain: string, path: string | null): Promise<void> {
  if (path === notedChainPath(dir, chain)) return;
  if (path === null) await unlink(chainPathFile(dir, chain));
  else await replaceOwnFile(chainPathFile(dir, chain), `${path}\n`);
}

/** Where a chain was noted to lie; null: nothing was noted, so it should be in its state directory. */
export function notedChainPath(dir: string, chain: string): string | null {
  const file = chainPathFile(dir, chain);
  return existsSync(file) ? readRegularSync(file).toString().trimEnd() : null;
}

/** Replaces the head note of a chain, whole or not at all. */
export async function writeHead(dir: string, head: Head): Promise<void> {
  await replaceOwnFile(headFile(dir, head.chain), `${JSON.stringify(head)}\n`);
}

/** The head note of a chain; null when there is none. Throws when it is unreadable. */
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

/** Chains that a head note is kept of. */
export async function notedChains(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch(() => []);
  return names.flatMap((name) => /^([a-z0-9-]+)\.head$/.exec(name)?.[1] ?? []);
}

/** Stands between the notes of a file, and after the last one unless it was cut short. */
const gap = "\n\n";

/** How each checkpoint begins: with the origin of some installation. */
const opening = "mcpgw/";
/** One that follows the rest of another: its origin, and the number of records. */
const following = /\nmcpgw\/\S+\n\d/;
/** Bytes of a file in which a checkpoint begins, wherever it was cut. */
const looked = 1024;

/**
 * Appends a checkpoint to a file; resolves to whether the note before it was cut short, as by a power cut. Such a note
 * stays, since evidence is never removed, but is set apart, or the new note would be read as its end. Throws for a file
 * of another kind, which a note would damage.
 */
export async function appendCheckpoint(path: string, note: string): Promise<boolean> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // A power cut may leave zeros of what was appended last, or no more of a note than its first letters.
  const start = (await partOf(path, 0, looked)).replaceAll("\0", "");
  const isBegun = start.split(gap).every((part) => opening.startsWith(part));
  if (!isBegun && !start.startsWith(opening) && !following.test(start)) {
    throw new Error(
      `${path} holds something other than checkpoints, and stays as it is: give them a file of their own`,
    );
  }
  const end = await tailOf(path, gap.length);
  const torn = end !== "" && end !== gap;
  // A power cut could take the name of a new file whose text was synced. Not after the text: a note that failed for it
  // would be in the file all the same, and a second time once it is tried again.
  if (start === "") await naming(path, makeEmpty(path));
  await naming(path, append(path, `${torn ? gap : ""}${note}\n`));
  return torn;
}

/** On the disk when it resolves: Bun does not know the option `flush`. */
async function append(path: string, text: string): Promise<void> {
  await using file = await open(path, "a", 0o600);
  await file.appendFile(text);
  await file.sync();
}

/** Makes a file where there is none, so that it is found after a power cut, in directories that may be new as well. */
async function makeEmpty(path: string): Promise<void> {
  await (await open(path, "a", 0o600)).close();
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    await syncDirectory(directory);
    if (directory === dirname(directory)) return;
  }
}

/** A file's text, null when there is no such file. */
export async function fileText(path: string): Promise<string | null> {
  try {
    return await readRegular(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw error;
  }
}

/** The end of a file, at most `bytes`; empty when there is none. */
export const tailOf = (path: string, bytes: number): Promise<string> => partOf(path, -bytes, bytes);

/** As many bytes of a file as there are from `from` on, which counts from its end if it is negative. */
async function partOf(path: string, from: number, bytes: number): Promise<string> {
  const info = await stat(path).catch(() => null);
  if (!info) return "";
  await using file = await open(path, "r");
  const start = from < 0 ? Math.max(0, info.size + from) : from;
  const reading = file.read(Buffer.alloc(Math.min(bytes, info.size)), 0, null, start);
  const { buffer, bytesRead } = await naming(path, reading);
  return buffer.toString("utf8", 0, bytesRead);
}
