import { readdir, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { messageOf } from "../core/error-text.ts";
import { answered, FileUnanswered, readAnswered } from "./answered.ts";
import { fileText } from "./outside.ts";

/**
 * Yields each file of the sources once, with what `look` finds in its text. The result is null if the file, or the
 * directory that is the source, does not answer; the other files are still checked. Throws at the end, naming every
 * file that could not be read.
 */
export async function* searchFiles<T>(
  sources: readonly string[],
  look: (source: string, text: AsyncIterable<string>) => Promise<T>,
): AsyncGenerator<{ source: string; found: T | null }> {
  const seen = new Set<string>();
  const faults: string[] = [];
  const tried = <T>(read: () => Promise<T>): Promise<T | null> =>
    read().catch((error: unknown) => {
      if (!(error instanceof FileUnanswered)) faults.push(messageOf(error));
      return null;
    });
  for (const source of sources) {
    const files = await tried(() => filesOf(source));
    for (const file of files ?? [resolve(source)]) {
      if (seen.has(file)) continue;
      seen.add(file);
      yield { source: file, found: files && (await tried(() => look(file, readAnswered(file)))) };
    }
  }
  if (faults.length > 0) throw new Error(faults.join("; "));
}

async function filesOf(source: string): Promise<string[]> {
  const info = await answered(source, () => stat(source).catch(() => null));
  if (!info) throw new Error(`no checkpoint file at ${source}`);
  if (!info.isDirectory()) return [resolve(source)];
  const names = await answered(source, () => readdir(source));
  return names.filter((entry) => entry.endsWith(".checkpoints")).map((name) => resolve(source, name));
}

const remote = /^(nfs\d?|cifs|smb3?|9p|virtiofs|ceph|glusterfs|fuse\..+|afs|lustre)$/;

/** Reports whether whoever controls this host can change a file: false only on a network file system. */
export async function onThisHost(file: string): Promise<boolean> {
  const mounts = await fileText("/proc/self/mounts").catch(() => null);
  let longest = "";
  let type = "";
  for (const line of (mounts ?? "").split("\n")) {
    const [, encoded = "", kind = ""] = line.split(" ");
    const at = encoded.replaceAll("\\040", " ");
    const covers = file === at || file.startsWith(at.endsWith("/") ? at : `${at}/`);
    if (covers && at.length >= longest.length) [longest, type] = [at, kind];
  }
  return !remote.test(type);
}
