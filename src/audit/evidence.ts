import { readdir, readFile, stat } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { eachCheckpoint, type FoundCheckpoint, originOf, originsIn, parsePublicKey } from "./checkpoint.ts";
import { installOf } from "./open.ts";
import { checkpointFile, publicKeyFile, readHead, textOf } from "./outside.ts";
import type { OutsideCheckpoint, VerifyOptions } from "./verify.ts";

/** Text that should hold checkpoints, and the file or URL it is from. */
export type GivenText = { readonly source: string; readonly text: string };

export type EvidenceOptions = {
  /** Empty: checkpoints of all chains of the installation. */
  readonly chain: string;
  /** Directory of the installation outside the state directory; null where there is none, as for an export. */
  readonly dir: string | null;
  /** Files, or directories of files, with checkpoints. Throws when one cannot be read. */
  readonly sources: readonly string[];
  /** Checkpoints that were handed over as text. If there are any, only they can prove the chain. */
  readonly texts?: readonly GivenText[];
  /** The signer's key as text; default: the one kept in `dir`. */
  readonly publicKey?: string | undefined;
};

/** Signatures that are checked before other work of the thread gets its turn; takes a few milliseconds. */
const batch = 32;

/**
 * Collects what a chain is verified against from outside the state directory. Throws `Error` for a key or a file that
 * cannot be read.
 */
export async function gatherEvidence(given: EvidenceOptions): Promise<VerifyOptions> {
  const { chain, dir, texts = [] } = given;
  refuseEmpty(texts);
  const text = given.publicKey ?? (dir === null ? null : await textOf(publicKeyFile(dir)));
  const publicKey = text === null ? null : parsePublicKey(text);
  if (text !== null && !publicKey) throw new Error(noKey(given));
  // Read before the chain, which may grow meanwhile: the note must not be ahead of the records that are verified.
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
    const found = eachCheckpoint(await readFile(file, "utf8"), publicKey, wanted);
    await collect(found, { source: file, sameHost, given: false }, checkpoints);
  }
  for (const { source, text: note } of texts) {
    const sameHost = isAbsolute(source) && (await onThisHost(source));
    await collect(eachCheckpoint(note, publicKey, wanted), { source, sameHost, given: true }, checkpoints);
  }
  const foreign = foreignIn(texts, installOf(publicKey));
  return { chain, origin, checkpoints, publicKey, head, onlyGiven: texts.length > 0, foreign };
}

async function collect(
  found: Iterable<FoundCheckpoint>,
  from: Pick<OutsideCheckpoint, "source" | "sameHost" | "given">,
  into: OutsideCheckpoint[],
): Promise<void> {
  for (const checkpoint of found) {
    into.push({ ...checkpoint, ...from });
    if (into.length % batch === 0) await setImmediate();
  }
}

/** Throws when none of the texts holds a checkpoint: they neither prove nor contradict anything. */
function refuseEmpty(texts: readonly GivenText[]): void {
  if (texts.length === 0 || texts.some(({ text }) => originsIn(text).length > 0)) return;
  const sources = texts.map(({ source, text }) => (text.trim() === "" ? `${source} (empty)` : source));
  throw new Error(`no checkpoint in ${sources.join(", ")}: what is wanted are signed notes that begin with mcpgw/…`);
}

/** The chain that an origin names; null when the origin is of another installation. */
function chainOf(origin: string, install: string): string | null {
  const prefix = originOf(install, "");
  const chain = origin.startsWith(prefix) ? origin.slice(prefix.length) : "";
  return /^[a-z0-9-]+$/.test(chain) ? chain : null;
}

/** The chains of an installation that have checkpoints in these texts. */
export function chainsIn(texts: readonly GivenText[], install: string): string[] {
  const chains = texts.flatMap(({ text }) => originsIn(text)).flatMap((origin) => chainOf(origin, install) ?? []);
  return [...new Set(chains)];
}

/**
 * Why one of the texts does not belong to this installation; null: all do. A history that was rewritten under another
 * key has another origin, so checkpoints of the true history look foreign.
 */
function foreignIn(texts: readonly GivenText[], install: string): string | null {
  for (const { source, text } of texts) {
    const foreign = originsIn(text).find((origin) => chainOf(origin, install) === null);
    if (foreign === undefined) continue;
    return `the checkpoint of ${foreign} in ${source} is of another installation; this one is ${originOf(install, "…")}`;
  }
  return null;
}

function noKey({ dir, publicKey }: EvidenceOptions): string {
  const where = publicKey === undefined && dir !== null ? `${publicKeyFile(dir)} holds` : "the public key is";
  return `${where} neither 32 bytes in base64 nor a verifier key`;
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

/** False only for a file on a network file system: whoever controls this host can change every other file. */
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
