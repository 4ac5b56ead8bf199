import { readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { eachCheckpoint, type FoundCheckpoint, originOf, parsePublicKey } from "./checkpoint.ts";
import { installOf } from "./open.ts";
import { checkpointFile, publicKeyFile, readHead, textOf } from "./outside.ts";
import type { OutsideCheckpoint, VerifyOptions } from "./verify.ts";

export type EvidenceOptions = {
  /** Empty: checkpoints of all chains of the installation. */
  readonly chain: string;
  /** Directory of the installation outside the state directory; null where there is none, as for an export. */
  readonly dir: string | null;
  /** Files, or directories of files, with checkpoints. Throws when one cannot be read. */
  readonly sources: readonly string[];
  /** Checkpoints that were handed over as text. */
  readonly texts?: readonly { readonly source: string; readonly text: string }[];
  /** The signer's key as text; default: the one kept in `dir`. */
  readonly publicKey?: string | undefined;
};

/** Signatures that are checked at a stretch, a few milliseconds. */
const batch = 32;

/** Collects from outside what a chain is verified against, a batch of signatures at a time. Throws `Error` for a key or a file that cannot be read. */
export async function gatherEvidence(given: EvidenceOptions): Promise<VerifyOptions> {
  const { chain, dir } = given;
  const text = given.publicKey ?? (dir === null ? null : await textOf(publicKeyFile(dir)));
  const publicKey = text === null ? null : parsePublicKey(text);
  if (text !== null && !publicKey) throw new Error("the public key is neither 32 bytes in base64 nor a verifier key");
  // Before the chain is read: it may grow meanwhile, the note must not be ahead of what is read.
  const head = dir === null ? null : await readHead(dir, chain);
  if (!publicKey) return { chain, origin: "", checkpoints: [], publicKey, head };
  const files = await filesOf(
    dir === null ? given.sources : [...given.sources, checkpointFile(dir, chain)],
    dir,
    chain,
  );
  const origin = originOf(installOf(publicKey), chain);
  const wanted = (found: string): boolean => (chain === "" ? found.startsWith(origin) : found === origin);
  const checkpoints: OutsideCheckpoint[] = [];
  for (const file of files) {
    const sameHost = await onThisHost(file);
    await collect(eachCheckpoint(await readFile(file, "utf8"), publicKey, wanted), file, sameHost, checkpoints);
  }
  for (const { source, text: note } of given.texts ?? []) {
    await collect(eachCheckpoint(note, publicKey, wanted), source, false, checkpoints);
  }
  return { chain, origin, checkpoints, publicKey, head };
}

async function collect(
  found: Iterable<FoundCheckpoint>,
  source: string,
  sameHost: boolean,
  into: OutsideCheckpoint[],
): Promise<void> {
  for (const checkpoint of found) {
    into.push({ ...checkpoint, source, sameHost });
    if (into.length % batch === 0) await setImmediate();
  }
}

async function filesOf(sources: readonly string[], dir: string | null, chain: string): Promise<string[]> {
  const files = new Set<string>();
  for (const source of sources) {
    const info = await stat(source).catch(() => null);
    const optional = dir !== null && source === checkpointFile(dir, chain);
    if (!info && optional) continue;
    if (!info) throw new Error(`no checkpoint at ${source}`);
    const names = info.isDirectory() ? await readdir(source) : [];
    if (!info.isDirectory()) files.add(resolve(source));
    for (const name of names.filter((entry) => entry.endsWith(".checkpoints"))) files.add(resolve(join(source, name)));
  }
  return [...files];
}

const remote = /^(nfs\d?|cifs|smb3?|9p|virtiofs|ceph|glusterfs|fuse\..+|afs|lustre)$/;

/** False only where the file lies on a network file system: everything else, whoever rules this host can change. */
async function onThisHost(file: string): Promise<boolean> {
  const mounts = await textOf("/proc/self/mounts").catch(() => null);
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
