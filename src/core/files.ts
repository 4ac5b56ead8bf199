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

// Without O_NONBLOCK, opening a named pipe blocks until someone writes to it, perhaps forever.
const atOnce = constants.O_RDONLY | constants.O_NONBLOCK;

/** Opens any kind of file for reading without blocking. */
export const openAtOnce = (path: string): number => openSync(path, atOnce);

/** Thrown for a path that is not a regular file, or for a file that is too large. */
export class UnfitFile extends Error {
  readonly large: boolean;

  constructor(path: string, large: boolean) {
    super(`${path} is ${large ? "too large" : "not a regular file"}`);
    this.name = "UnfitFile";
    this.large = large;
  }
}

type Kind = { isFile(): boolean; readonly size: number };

function refuseUnfit(path: string, stat: Kind, most = Infinity): void {
  if (!stat.isFile() || stat.size > most) throw new UnfitFile(path, stat.isFile());
}

/** Returns the bytes of a regular file, `most` bytes at most; throws `UnfitFile` for anything else. */
export function readRegularSync(path: string, most?: number): Buffer {
  const fd = openAtOnce(path);
  try {
    refuseUnfit(path, fstatSync(fd), most);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Returns the text of a regular file; throws `UnfitFile` for anything else. */
export async function readRegular(path: string): Promise<string> {
  await using file = await open(path, atOnce);
  refuseUnfit(path, await file.stat());
  return file.readFile("utf8");
}

/** Returns the dangling link on a path, or at its end, and its target; null if there is none. */
export function brokenLink(path: string): { readonly link: string; readonly to: string } | null {
  if (existsSync(path)) return null;
  const to = orNull(() => readlinkSync(path));
  return to === null ? brokenLink(dirname(path)) : { link: path, to };
}

/** Adds the path to an error that lacks it: once a file is open, system errors do not name it. */
export async function naming<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Error) || error.message.includes(path)) throw error;
    throw Object.assign(new Error(`${path}: ${error.message}`, { cause: error }), { code: codeOf(error) });
  }
}

/** Returns a unique name next to a file, for writing its next content. */
export const draftOf = (path: string): string => `${path}.${crypto.randomUUID()}`;

/**
 * Replaces a file atomically: readers see the old text or the new one in full, even after a power cut. Creates a
 * missing directory.
 */
export async function replaceFile(path: string, text: string, mode = 0o600, owner: Owner | null = null): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await written(draftOf(path), text, { mode, owner }, (draft) => rename(draft, path));
}

/**
 * Like `replaceFile`, for a file with a single writer that writes one text at a time: the draft that a killed writer
 * left behind is replaced by the next one.
 */
export async function replaceOwnFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.draft`;
  await rm(draft, { force: true });
  await written(draft, text, { mode: 0o600, owner: null }, () => rename(draft, path));
}

type Owner = { readonly uid: number; readonly gid: number };

/** Creates a file unless it exists. If several processes try at once, one wins and all find its text. */
export async function createFile(path: string, text: string): Promise<void> {
  await written(draftOf(path), text, { mode: 0o600, owner: null }, (draft) => publish(draft, path));
  await syncDirectory(dirname(path));
}

/** Gives a draft its name unless another process was faster; copies it if the file system has no hard links. */
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
 * Makes new names in a directory survive a power cut, if it can be synced: not every file system supports that, and a
 * user who can write to the directory but not read it cannot sync it.
 */
export async function syncDirectory(path: string): Promise<void> {
  try {
    await using directory = await open(path, "r");
    await naming(path, directory.sync());
  } catch (error) {
    if (!unsyncable.has(codeOf(error))) throw error;
  }
}

/** The synchronous form of `syncDirectory`. */
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

/** Syncs the text to disk before `use` names it, so that a power cut cannot leave half of it. */
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
    // If nothing can be written, nothing can be removed either; the first error is the one to report.
    await rm(draft, { force: true }).catch(() => {});
  }
}
