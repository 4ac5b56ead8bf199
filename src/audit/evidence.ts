import { existsSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { originOf, originsIn, parseCheckpoints } from "./checkpoint.ts";
import { onThisHost, textsIn } from "./evidence-files.ts";
import { checkpointFile, notedChains, publicKeyFile, readHead, fileText } from "./outside.ts";
import { installOf, parsePublicKey } from "./signing-key.ts";
import type { Appraisal, OutsideCheckpoint, VerifyOptions } from "./verify.ts";

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
export async function gatherEvidence(options: EvidenceOptions): Promise<VerifyOptions> {
  const { chain, dir, sources, texts = [], silent = [] } = options;
  refuseEmpty(texts);
  const publicKey = await signerOf(options);
  if (!publicKey && texts.length > 0)
    throw new Error("no key is known that must have signed the checkpoints; name one");
  // Before the chain is read: it may grow meanwhile, the note must not be ahead of what is read.
  const head = dir === null ? null : await readHead(dir, chain);
  if (!publicKey) return { chain, origin: "", checkpoints: [], publicKey, head };
  const signer = { publicKey, install: installOf(publicKey), chain };
  const beside = dir === null ? null : resolve(checkpointFile(dir, chain));
  const kept = beside !== null && existsSync(beside) ? [beside] : [];
  const seen: Seen[] = [];
  const unread: string[] = [];
  for await (const { source, text } of textsIn([...kept, ...sources])) {
    if (text === null) unread.push(source);
    else seen.push(await lookInto(text, { source, sameHost: await onThisHost(source), given: false }, signer));
  }
  for (const { source, text } of texts) {
    const sameHost = isAbsolute(source) && (await onThisHost(source));
    seen.push(await lookInto(text, { source, sameHost, given: true }, signer));
  }
  const { foreign, doubts } = strangers(seen, signer.install);
  const unsearched = silent.filter((file) => !unread.includes(file));
  const appraisal: Appraisal = {
    onlyGiven: texts.length > 0,
    foreign,
    doubts: [
      ...doubts,
      ...unread.map((file) => `${file} does not answer: nothing was compared with the checkpoints in it`),
      ...unsearched.map((file) => `${file} does not answer: which chains it speaks of is not known`),
    ],
    notes: seen.filter((of) => isEmpty(of, beside)).map(({ source }) => `${source} holds no checkpoint of this chain`),
  };
  const checkpoints = seen.flatMap((of) => of.checkpoints);
  return { chain, origin: originOf(signer.install, chain), checkpoints, publicKey, head, appraisal };
}

/** The key that must have signed the checkpoints; null: none is known. Throws for a text that is no key. */
async function signerOf({ publicKey, dir, ownKey }: EvidenceOptions): Promise<Uint8Array | null> {
  const text = publicKey ?? (dir === null ? null : await fileText(publicKeyFile(dir)));
  if (text === null) return ownKey ?? null;
  const key = parsePublicKey(text);
  if (key) return key;
  const where = publicKey === undefined && dir !== null ? `${publicKeyFile(dir)} holds` : "the public key is";
  throw new Error(`${where} neither 32 bytes in base64 nor a verifier key`);
}

/** Whose checkpoints are looked for; an empty `chain` stands for all of the installation. */
type Signer = { readonly publicKey: Uint8Array; readonly install: string; readonly chain: string };

type Provenance = Pick<OutsideCheckpoint, "source" | "sameHost" | "given">;

/** What a file or text holds: checkpoints that are looked for, whether any is of this installation, an origin of another. */
type Seen = Provenance & {
  readonly checkpoints: readonly OutsideCheckpoint[];
  readonly own: boolean;
  readonly foreign: string | null;
};

async function lookInto(text: string, from: Provenance, { publicKey, install, chain }: Signer): Promise<Seen> {
  const origin = originOf(install, chain);
  const origins = new Set<string>();
  const wanted = (found: string): boolean => {
    origins.add(found);
    return chain === "" ? found.startsWith(origin) : found === origin;
  };
  const checkpoints: OutsideCheckpoint[] = [];
  // There may be many texts with few checkpoints each.
  await setImmediate();
  for (const checkpoint of parseCheckpoints(text, publicKey, wanted)) {
    checkpoints.push({ ...checkpoint, ...from });
    if (checkpoints.length % batch === 0) await setImmediate();
  }
  const isForeign = (found: string): boolean => chainOf(found, install) === null;
  const foreign = origins.values().find(isForeign) ?? null;
  return { ...from, checkpoints, own: !origins.values().every(isForeign), foreign };
}

/** Whether a file that is configured to hold checkpoints holds none of the chain, nor of another installation. */
const isEmpty = ({ checkpoints, given, source, foreign }: Seen, beside: string | null): boolean =>
  checkpoints.length === 0 && !given && source !== beside && foreign === null;

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
  const silent: string[] = [];
  for (const { text } of texts) await addChains(text, install, chains);
  // What a file holds tells its chain, not its name: copies of it may lie beside it.
  for await (const { source, text } of textsIn(existsSync(dir) ? [...sources, dir] : sources)) {
    if (text === null) silent.push(source);
    else await addChains(text, install, chains);
  }
  return { chains: [...chains], silent };
}

async function addChains(text: string, install: string, chains: Set<string>): Promise<void> {
  let read = 0;
  for (const origin of originsIn(text)) {
    const chain = chainOf(origin, install);
    if (chain !== null) chains.add(chain);
    read += 1;
    if (read % stretch === 0) await setImmediate();
  }
}

/**
 * A history rewritten under another key has another origin, so checkpoints of the true history look foreign to it. They
 * contradict where they are all that was given to prove the log by; elsewhere an installation before this one, or beside
 * it, may have written them, and nothing tells which: whoever replaced the log can have put a file of their own beside.
 */
function strangers(seen: readonly Seen[], install: string) {
  const given = seen.filter((of) => of.given);
  const strange = seen.filter(({ foreign }) => foreign !== null);
  const [first] = given.some(({ own }) => own) ? [] : strange.filter((of) => of.given);
  const foreign = first
    ? `the checkpoint of ${first.foreign} in ${first.source} is of another installation; this one is ${originOf(install, "…")}`
    : null;
  const doubtful = strange.filter((of) => (of.given ? of !== first : given.length === 0));
  return {
    foreign,
    doubts: doubtful.map(({ source, foreign: other, own, given: handed }) => {
      const what = own ? `checkpoints of ${other} too` : `only checkpoints of ${other}`;
      const todo = handed && !own ? "give only the files of this gateway" : "let each have a file of its own";
      return `${source} holds ${what}: another installation wrote them, or this log took the place of theirs together with its key; if it is the former, ${todo}`;
    }),
  };
}
