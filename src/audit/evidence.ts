import { existsSync } from "node:fs";
import { basename, dirname, isAbsolute, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type AbortSignalLike, throwIfGivenUp } from "../core/cancel.ts";
import { sameHash } from "./chain.ts";
import { checkpointsIn, originOf, originsIn, piecesOf } from "./checkpoint.ts";
import { lookInFiles, onThisHost } from "./evidence-files.ts";
import { fileText, notedChains, publicKeyFile, readHead } from "./outside.ts";
import { installOf, parsePublicKey } from "./signing-key.ts";
import type { Appraisal, OutsideCheckpoint, VerifyOptions } from "./verify.ts";

/** Text that should hold checkpoints, and the file or URL it is from. */
type GivenText = { readonly source: string; readonly text: string };

export type EvidenceOptions = {
  /** Directory of the installation outside the state directory; null where there is none, as for an export. */
  readonly dir: string | null;
  /** Files, or directories of files, with checkpoints. Throws when one cannot be read, not when one does not answer. */
  readonly sources: readonly string[];
  /** Checkpoints that were handed over as text. If there are any, only they can prove a chain. */
  readonly texts?: readonly GivenText[];
  /** The signer's key as text; default: the one kept in `dir`. */
  readonly publicKey?: string | undefined;
  /** Once it fires, no more is read. */
  readonly signal?: AbortSignalLike;
  /** The installation's own key, for when none is kept in `dir` any more. */
  readonly ownKey?: Uint8Array | undefined;
};

/** What the chains of an installation are verified against. */
export type Gathered = {
  /** The file in `dir` that names the key by which was checked who signed; null: that key was not read there. */
  readonly keyFile: string | null;
  /** Those that a head note or a checkpoint outside is of. */
  readonly chains: readonly string[];
  /** To be asked for before the chain is read, which may grow meanwhile: its head note must not be ahead. */
  optionsFor(chain: string): Promise<VerifyOptions>;
};

/** Checkpoints that are only looked at, at a stretch. */
const stretch = 1000;

/**
 * Collects what chains are verified against from outside the state directory. Throws `Error` for a key or a file that
 * cannot be read.
 */
export async function gatherEvidence(options: EvidenceOptions): Promise<Gathered> {
  const { dir, texts = [], ownKey } = options;
  refuseEmpty(texts);
  const { publicKey, keyFile, contradiction } = await signerOf(options);
  if (!publicKey && texts.length > 0)
    throw new Error("no key is known that must have signed the checkpoints; name one");
  const install = publicKey ? installOf(publicKey) : "";
  const { seen, unread } = publicKey ? await lookAround(options, publicKey) : { seen: [], unread: [] };
  const own = ownKey ? installOf(ownKey) : install;
  const named = seen.flatMap(({ origins }) => origins.flatMap((origin) => chainOf(origin, own) ?? []));
  return {
    keyFile,
    chains: [...new Set([...(dir === null ? [] : await notedChains(dir)), ...named])],
    async optionsFor(chain) {
      const head = dir === null ? null : await readHead(dir, chain);
      const origin = originOf(install, chain);
      const counts = ({ only }: Pick<Seen, "only">): boolean => only === null || only === chain;
      const lacks = (file: Unread): string =>
        counts(file) ? "nothing was compared with the checkpoints in it" : "which chains it speaks of is not known";
      const found = seen.filter(counts);
      const { foreign, doubts } = strangers(found, install);
      const appraisal: Appraisal = {
        onlyGiven: texts.length > 0,
        foreign: foreign ?? contradiction,
        doubts: [...doubts, ...unread.map((file) => `${file.source} does not answer: ${lacks(file)}`)],
        notes: found
          .filter((of) => isEmpty(of, origin))
          .map(({ source }) => `${source} holds no checkpoint of this chain`),
      };
      const checkpoints = found.flatMap((of) => of.checkpoints.filter((one) => one.origin === origin));
      return { chain, checkpoints, publicKey, head, appraisal };
    },
  };
}

/** Looks into all files and texts, each once. */
async function lookAround(options: EvidenceOptions, publicKey: Uint8Array) {
  const { dir, sources, texts = [], signal } = options;
  const seen: Seen[] = [];
  const unread: Unread[] = [];
  const look = async (source: string, text: Text): Promise<Seen> => {
    const only = onlyChainOf(source, options);
    const from = { source, only, sameHost: await onThisHost(source), given: false };
    return lookInto(text, from, publicKey, signal);
  };
  const files = [...(dir !== null && existsSync(dir) ? [dir] : []), ...sources];
  for await (const { source, found } of lookInFiles(files, look)) {
    if (found) seen.push(found);
    else unread.push({ source, only: onlyChainOf(source, options) });
  }
  for (const { source, text } of texts) {
    const sameHost = isAbsolute(source) && (await onThisHost(source));
    seen.push(await lookInto([text], { source, only: null, sameHost, given: true }, publicKey, signal));
  }
  return { seen, unread };
}

/**
 * The one chain that a file in the installation's directory counts for: copies of it may lie beside it. Null: for all.
 */
function onlyChainOf(file: string, { dir, sources }: EvidenceOptions): string | null {
  const isKept = dir !== null && dirname(file) === resolve(dir);
  return isKept && !sources.some((source) => resolve(source) === file) ? basename(file, ".checkpoints") : null;
}

type Signer = {
  readonly publicKey: Uint8Array | null;
  /** The file that names it; null where it is known otherwise. */
  readonly keyFile: string | null;
  readonly contradiction: string | null;
};

/**
 * The key that must have signed the checkpoints; null: none is known. Whoever rewrites log and checkpoints can put the
 * key of that beside them, so one there that is not the installation's own is none. Throws for a text that is no key.
 */
async function signerOf({ publicKey: given, dir, ownKey }: EvidenceOptions): Promise<Signer> {
  const file = given === undefined && dir !== null ? publicKeyFile(dir) : null;
  const text = file === null ? (given ?? null) : await fileText(file);
  if (text === null) return { publicKey: ownKey ?? null, keyFile: null, contradiction: null };
  const key = parsePublicKey(text);
  if (!key) {
    const where = file === null ? "the public key is" : `${file} holds`;
    throw new Error(`${where} neither 32 bytes in base64 nor a verifier key with its own id`);
  }
  if (file === null || !ownKey || sameHash(key, ownKey)) return { publicKey: key, keyFile: file, contradiction: null };
  const contradiction = `${file} names another signing key than this state directory has, whose own decided who signed`;
  return { publicKey: ownKey, keyFile: null, contradiction };
}

type Provenance = Pick<OutsideCheckpoint, "source" | "sameHost" | "given"> & {
  /** The only chain that the file or text counts for; null: it counts for all. */
  readonly only: string | null;
};

type Unread = Pick<Provenance, "source" | "only">;

/**
 * What a file or text holds: what its checkpoints say they are of, those of this installation, and whether any is not.
 */
type Seen = Provenance & {
  readonly origins: readonly string[];
  readonly checkpoints: readonly OutsideCheckpoint[];
  readonly own: boolean;
  readonly foreign: string | null;
};

type Text = AsyncIterable<string> | Iterable<string>;

async function lookInto(text: Text, from: Provenance, publicKey: Uint8Array, signal: AbortSignalLike | undefined) {
  const { only, ...provenance } = from;
  const install = installOf(publicKey);
  const wanted = (found: string): boolean =>
    only === null ? found.startsWith(originOf(install, "")) : found === originOf(install, only);
  const origins = new Set<string>();
  const checkpoints: OutsideCheckpoint[] = [];
  let read = 0;
  for await (const piece of piecesOf(text)) {
    // There may be many texts with few checkpoints each.
    await setImmediate();
    if (signal) throwIfGivenUp(signal);
    for (const origin of originsIn(piece)) {
      origins.add(origin);
      read += 1;
      if (read % stretch === 0) await setImmediate();
    }
    for await (const found of checkpointsIn(piece, publicKey, wanted)) checkpoints.push({ ...found, ...provenance });
  }
  const isForeign = (found: string): boolean => chainOf(found, install) === null;
  const foreign = origins.values().find(isForeign) ?? null;
  return { ...from, origins: [...origins], checkpoints, own: !origins.values().every(isForeign), foreign };
}

/** Whether a file that is configured to hold checkpoints holds none of the chain, nor of another installation. */
const isEmpty = ({ checkpoints, given, only, foreign }: Seen, origin: string): boolean =>
  !given && only === null && foreign === null && !checkpoints.some((found) => found.origin === origin);

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
 * A history rewritten under another key has another origin, so checkpoints of the true history look foreign to it. They
 * contradict where they are all that was given to prove the log by; elsewhere an installation before this one, or
 * beside it, may have written them, and nothing tells which: whoever replaced the log can have put a file of their own
 * beside.
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
