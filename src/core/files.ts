import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  readlinkSync,
} from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { orNull } from "./attempt.ts";
import { codeOf } from "./error-text.ts";

// Without O_NONBLOCK, who opens a named pipe waits until somebody writes to it, perhaps for ever.
const atOnce = constants.O_RDONLY | constants.O_NONBLOCK;

/** Opens a file for reading, whatever it is, without waiting. */
export const openAtOnce = (path: string): number => openSync(path, atOnce);

/** What lies in the place of a file is none, or a larger one than it may be. */
export class UnfitFile extends Error {
  readonly large: boolean;

  constructor(path: string, large: boolean) {
    super(`${path} is ${large ? "too large" : "no regular file"}`);
    this.name = "UnfitFile";
    this.large = large;
  }
}

type Kind = { isFile(): boolean; readonly size: number };

function refuseUnfit(path: string, stat: Kind, most = Infinity): void {
  if (!stat.isFile() || stat.size > most) throw new UnfitFile(path, stat.isFile());
}

/** The bytes of a regular file of at most `most` bytes; throws `UnfitFile` for anything else. */
export function readRegularSync(path: string, most?: number): Buffer {
  const fd = openAtOnce(path);
  try {
    refuseUnfit(path, fstatSync(fd), most);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The text of a regular file; throws `UnfitFile` for anything else. */
export async function readRegular(path: string): Promise<string> {
  await using file = await open(path, atOnce);
  refuseUnfit(path, await file.stat());
  return file.readFile("utf8");
}

/** The link on a path, or at its end, that leads nowhere, and where to; null where there is none. */
export function brokenLink(path: string): { readonly link: string; readonly to: string } | null {
  if (existsSync(path)) return null;
  const to = orNull(() => readlinkSync(path));
  return to === null ? brokenLink(dirname(path)) : { link: path, to };
}

/** Names the file in a failure that does not: once a file is open, the system tells only what failed. */
export async function naming<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Error) || error.message.includes(path)) throw error;
    throw Object.assign(new Error(`${path}: ${error.message}`, { cause: error }), { code: codeOf(error) });
  }
}

/** A name beside a file for its next content, which no other process uses. */
export const draftOf = (path: string): string => `${path}.${crypto.randomUUID()}`;

/**
 * Writes a file that others read at any time: they see the old text or the new one, whole, also after a power cut. A
 * directory that is missing is made.
 */
export async function replaceFile(path: string, text: string, mode = 0o600, owner: Owner | null = null): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await written(draftOf(path), text, { mode, owner }, (draft) => rename(draft, path));
}

/**
 * Like `replaceFile`, for a file that only one writer replaces, one text at a time: the draft that a killed writer
 * left gives way to the next one.
 */
export async function replaceOwnFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.draft`;
  await rm(draft, { force: true });
  await written(draft, text, { mode: 0o600, owner: null }, () => rename(draft, path));
}

type Owner = { readonly uid: number; readonly gid: number };

/** Writes a file unless there is one already; of several processes that try at once, one wins and all find its text. */
export async function createFile(path: string, text: string): Promise<void> {
  await written(draftOf(path), text, { mode: 0o600, owner: null }, (draft) => publish(draft, path));
  await syncDirectory(dirname(path));
}

/** Gives a file its name unless another process has been faster; copies it where the file system has no hard links. */
export function publish(draft: string, path: string): void {
  try {
    linkSync(draft, path);
  } catch (error) {
    if (isTaken(error)) return;
    try {
      copyFileSync(draft, path, constants.COPYFILE_EXCL);
    } catch (failure) {
      if (!isTaken(failure)) throw failure;
    }
  }
}

const isTaken = (error: unknown): boolean => codeOf(error) === "EEXIST";

/**
 * Makes new names in a directory survive a power cut, where it can be synced: not all file systems can, and nobody can
 * who may write to it but not read it.
 */
export async function syncDirectory(path: string): Promise<void> {
  try {
    await using directory = await open(path, "r");
    await naming(path, directory.sync());
  } catch (error) {
    if (!unsyncable.has(codeOf(error))) throw error;
  }
}

/** Like `syncDirectory`, on the thread. */
export function syncDirectorySync(path: string): void {
  try {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (!unsyncable.has(codeOf(error))) throw error;
  }
}

const unsyncable: ReadonlySet<string | null> = new Set(["EACCES", "EINVAL", "ENOTSUP"]);

/** The text is on the disk before `use` gives it a name: after a power cut there is no half of it. */
async function written(
  draft: string,
  text: string,
  { mode, owner }: { readonly mode: number; readonly owner: Owner | null },
  use: (draft: string) => Promise<void> | void,
): Promise<void> {
  const fill = async (): Promise<void> => {
    await using file = await open(draft, "wx", 0o600);
    await file.writeFile(text);
    if (owner) await file.chown(owner.uid, owner.gid);
    await file.chmod(mode);
    await file.sync();
  };
  try {
    await naming(draft, fill());
    await use(draft);
  } finally {
    // Where nothing can be written nothing can be removed either, and what came first is to be told.
    await rm(draft, { force: true }).catch(() => {});
  }
}
