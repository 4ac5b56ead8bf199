import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { isAbsolute, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { answered, readAnswered, FileUnanswered } from "./answered.ts";
import {
  type FoundCheckpoint,
  installOf,
  originOf,
  originsIn,
  parseCheckpoints,
  parsePublicKey,
} from "./checkpoint.ts";
import { checkpointFile, notedChains, publicKeyFile, readHead, textOf } from "./outside.ts";
import type { OutsideCheckpoint, VerifyOptions } from "./verify.ts";

/** Text that should hold checkpoints, and the file or URL it is from. */
type GivenText = { readonly source: string; readonly text: string };

export type EvidenceOptions = {
  /** Empty: checkpoints of all chains of the installation. */
  readonly chain: string;
  /** Directory of the installation outside the state directory; null where there is none, as for an export. */
  readonly dir: string | null;
  /** Files, or directories of files, with checkpoints. Throws when one cannot be read, not when one does not answer. */
  readonly sources: readonly string[];
  /** Checkpoints that were handed over as text. If there are any, only they can prove the chain. */
  readonly texts?: readonly GivenText[];
  /** The signer's key as text; default: the one kept in `dir`. */
  readonly publicKey?: string | undefined;
  /** The installation's own key, for when none is kept in `dir` any more. */
  readonly ownKey?: Uint8Array | undefined;
  /** Files that did not answer when chains were looked for in them. */
  readonly silent?: readonly string[];
};

/** Signatures that are checked before other work of the thread gets its turn; takes a few milliseconds. */
const batch = 32;
/** Checkpoints that are only looked at, at a stretch. */
const stretch = 1000;

/**
 * Collects what a chain is verified against from outside the state directory. Throws `Error` for a key or a file that
 * cannot be read.
 */
export async function gatherEvidence(given: EvidenceOptions): Promise<VerifyOptions> {
  const { chain, dir, sources, texts = [], silent = [] } = given;
  refuseEmpty(texts);
  const text = given.publicKey ?? (dir === null ? null : await textOf(publicKeyFile(dir)));
  const publicKey = text === null ? (given.ownKey ?? null) : parsePublicKey(text);
  if (text !== null && !publicKey) throw new Error(noKey(given));
  if (!publicKey && texts.length > 0)
    throw new Error("no key is known that must have signed the checkpoints; name one");
  // Before the chain is read: it may grow meanwhile, the note must not be ahead of what is read.
  const head = dir === null ? null : await readHead(dir, chain);
  if (!publicKey) return { chain, origin: "", checkpoints: [], publicKey, head };
  const install = installOf(publicKey);
  const origin = originOf(install, chain);
  const beside = dir === null ? null : resolve(checkpointFile(dir, chain));
  const checkpoints: OutsideCheckpoint[] = [];
  const seen: Seen[] = [];
  const look = async (note: string, place: Place): Promise<void> => {
    const origins = new Set<string>();
    const wanted = (found: string): boolean => {
      origins.add(found);
      return chain === "" ? found.startsWith(origin) : found === origin;
    };
    const before = checkpoints.length;
    await collect(parseCheckpoints(note, publicKey, wanted), place, checkpoints);
    const empty = checkpoints.length === before && !place.given && place.source !== beside;
    const foreign = origins.values().find((found) => chainOf(found, install) === null) ?? null;
    seen.push({ ...place, empty, foreign, own: origins.values().some((found) => chainOf(found, install) !== null) });
  };
  const kept = beside !== null && existsSync(beside) ? [beside] : [];
  const unread: string[] = [];
  for await (const { source, text: note } of textsIn([...kept, ...sources])) {
    if (note === null) unread.push(source);
    else await look(note, { source, sameHost: await onThisHost(source), given: false });
  }
  for (const { source, text: note } of texts) {
    await look(note, { source, sameHost: isAbsolute(source) && (await onThisHost(source)), given: true });
  }
  const { foreign, doubts, notes } = judge(seen, install);
  doubts.push(...unread.map((file) => `${file} does not answer: nothing was compared with the checkpoints in it`));
  const unsearched = silent.filter((file) => !unread.includes(file));
  doubts.push(...unsearched.map((file) => `${file} does not answer: which chains it speaks of is not known`));
  return { chain, origin, checkpoints, publicKey, head, onlyGiven: texts.length > 0, foreign, doubts, notes };
}

type Place = Pick<OutsideCheckpoint, "source" | "sameHost" | "given">;

async function collect(found: Iterable<FoundCheckpoint>, from: Place, into: OutsideCheckpoint[]): Promise<void> {
  for (const checkpoint of found) {
    into.push({ ...checkpoint, ...from });
    if (into.length % batch === 0) await setImmediate();
  }
}

/** Throws when none of the texts holds a checkpoint: they neither prove nor contradict anything. */
function refuseEmpty(texts: readonly GivenText[]): void {
  if (texts.length === 0 || texts.some(({ text }) => [...originsIn(text)].length > 0)) return;
  const sources = texts.map(({ source, text }) => (text.trim() === "" ? `${source} (empty)` : source));
  throw new Error(`no checkpoint in ${sources.join(", ")}: what is wanted are signed notes that begin with mcpgw/…`);
}

/** The chain that an origin names; null when the origin is of another installation. */
function chainOf(origin: string, install: string): string | null {
  const prefix = originOf(install, "");
  const chain = origin.startsWith(prefix) ? origin.slice(prefix.length) : "";
  return /^[a-z0-9-]+$/.test(chain) ? chain : null;
}

/**
 * The chains of an installation that a head note or a checkpoint outside is of, and the files that do not answer, whose
 * chains are not known. Throws when one cannot be read.
 */
export async function chainsOutside(
  { dir, sources, texts }: { dir: string } & Pick<Required<EvidenceOptions>, "sources" | "texts">,
  install: string,
): Promise<{ chains: string[]; silent: string[] }> {
  const chains = new Set(await notedChains(dir));
  const look = async (text: string): Promise<void> => {
    let read = 0;
    for (const origin of originsIn(text)) {
      const chain = chainOf(origin, install);
      if (chain !== null) chains.add(chain);
      read += 1;
      if (read % stretch === 0) await setImmediate();
    }
  };
  for (const { text } of texts) await look(text);
  // What a file holds tells its chain, not its name: copies of it may lie beside it.
  const places = existsSync(dir) ? [...sources, dir] : sources;
  const silent: string[] = [];
  for await (const { source, text } of textsIn(places)) {
    if (text === null) silent.push(source);
    else await look(text);
  }
  return { chains: [...chains], silent };
}

/** What a file or text holds: checkpoints of this installation, and an origin of another one. */
type Seen = Place & {
  readonly own: boolean;
  readonly foreign: string | null;
  /** Configured to hold checkpoints, but of this chain there is none. */
  readonly empty: boolean;
};

/**
 * A history rewritten under another key has another origin, so checkpoints of the true history look foreign to it. They
 * contradict where they are all that was given to prove the log by; elsewhere an installation before this one, or beside
 * it, may have written them, and nothing tells which: whoever replaced the log can have put a file of their own beside.
 */
function judge(seen: readonly Seen[], install: string) {
  const given = seen.filter((of) => of.given);
  const strange = seen.filter(({ foreign }) => foreign !== null);
  const [first] = given.some(({ own }) => own) ? [] : strange.filter((of) => of.given);
  const foreign = first
    ? `the checkpoint of ${first.foreign} in ${first.source} is of another installation; this one is ${originOf(install, "…")}`
    : null;
  const doubtful = strange.filter((of) => (of.given ? of !== first : given.length === 0));
  const empty = seen.filter((of) => of.empty && of.foreign === null);
  return {
    foreign,
    doubts: doubtful.map(({ source, foreign: other, own, given: handed }) => {
      const what = own ? `checkpoints of ${other} too` : `only checkpoints of ${other}`;
      const todo = handed && !own ? "give only the files of this gateway" : "let each have a file of its own";
      return `${source} holds ${what}: another installation wrote them, or this log took the place of theirs together with its key; if it is the former, ${todo}`;
    }),
    notes: empty.map(({ source }) => `${source} holds no checkpoint of this chain`),
  };
}

function noKey({ dir, publicKey }: EvidenceOptions): string {
  const where = publicKey === undefined && dir !== null ? `${publicKeyFile(dir)} holds` : "the public key is";
  return `${where} neither 32 bytes in base64 nor a verifier key`;
}

/** Each file of the sources once; `text` is null where it, or the directory that is the source, does not answer. */
async function* textsIn(sources: readonly string[]): AsyncGenerator<{ source: string; text: string | null }> {
  const seen = new Set<string>();
  for (const source of sources) {
    const files = await ifAnswered(() => filesOf(source));
    for (const file of files ?? [resolve(source)]) {
      if (seen.has(file)) continue;
      seen.add(file);
      yield { source: file, text: files && (await ifAnswered(() => readAnswered(file))) };
    }
  }
}

async function filesOf(source: string): Promise<string[]> {
  const info = await answered(source, () => stat(source).catch(() => null));
  if (!info) throw new Error(`no checkpoint at ${source}`);
  if (!info.isDirectory()) return [resolve(source)];
  const names = await answered(source, () => readdir(source));
  return names.filter((entry) => entry.endsWith(".checkpoints")).map((name) => resolve(source, name));
}

/** Null where a file does not answer: that keeps nothing else from being checked. */
async function ifAnswered<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof FileUnanswered) return null;
    throw error;
  }
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
