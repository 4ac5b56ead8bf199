import { existsSync } from "node:fs";
import { basename, dirname, isAbsolute, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type AbortSignalLike, throwIfGivenUp } from "../core/cancel.ts";
import { sameHash } from "./chain.ts";
import { checkpointsIn, originOf, originsIn, piecesOf } from "./checkpoint.ts";
import { searchFiles, onThisHost } from "./evidence-files.ts";
import { fileText, notedChains, publicKeyFile, readHead } from "./outside.ts";
import { installOf, parsePublicKey } from "./signing-key.ts";
import type { Appraisal, OutsideCheckpoint, VerifyOptions } from "./verify.ts";

/** Text that should hold checkpoints, with the file or URL it came from. */
type GivenText = { readonly source: string; readonly text: string };

export type EvidenceOptions = {
  /** Directory of the installation outside the state directory; null if there is none, as for an export. */
  readonly dir: string | null;
  /** Files, or directories of files, with checkpoints; one that cannot be read is an error, a silent one is not. */
  readonly sources: readonly string[];
  /** Checkpoints passed as text. If there are any, only they can prove a chain. */
  readonly texts?: readonly GivenText[];
  /** The signer's public key as text; default: the one in `dir`. */
  readonly publicKey?: string | undefined;
  /** Stops the reading when it aborts. */
  readonly signal?: AbortSignalLike;
  /** The installation's own key, used if `dir` no longer holds one. */
  readonly ownKey?: Uint8Array | undefined;
};

/** The evidence that the chains of an installation are verified against. */
export type Gathered = {
  /** The file in `dir` whose key the signatures were checked with; null if the key came from elsewhere. */
  readonly keyFile: string | null;
  /** Chains for which a head note or a checkpoint exists outside the state directory. */
  readonly chains: readonly string[];
  /** Call this before reading the chain, which may grow: the head note must not be ahead of what was read. */
  optionsFor(chain: string): Promise<VerifyOptions>;
};

/** Number of checkpoints scanned before other work gets a turn. */
const stretch = 1000;

/** Collects the evidence from outside the state directory. Throws `Error` for a key or a file that cannot be read. */
export async function gatherEvidence(options: EvidenceOptions): Promise<Gathered> {
  const { dir, texts = [], ownKey } = options;
  refuseEmpty(texts);
  const { publicKey, keyFile, contradiction } = await signerOf(options);
  if (!publicKey && texts.length > 0)
    throw new Error("the public key that signed the checkpoints is not known; specify it");
  const install = publicKey ? installOf(publicKey) : "";
  const { seen, unread } = publicKey ? await readEvidence(options, publicKey) : { seen: [], unread: [] };
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
        counts(file) ? "the log was not compared with the checkpoints in it" : "the chains it covers are not known";
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

async function readEvidence(options: EvidenceOptions, publicKey: Uint8Array) {
  const { dir, sources, texts = [], signal } = options;
  const seen: Seen[] = [];
  const unread: Unread[] = [];
  const look = async (source: string, text: Text): Promise<Seen> => {
    const only = onlyChainOf(source, options);
    const from = { source, only, sameHost: await onThisHost(source), given: false };
    return lookInto(text, from, publicKey, signal);
  };
  const files = [...(dir !== null && existsSync(dir) ? [dir] : []), ...sources];
  for await (const { source, found } of searchFiles(files, look)) {
    if (found) seen.push(found);
    else unread.push({ source, only: onlyChainOf(source, options) });
  }
  for (const { source, text } of texts) {
    const sameHost = isAbsolute(source) && (await onThisHost(source));
    seen.push(await lookInto([text], { source, only: null, sameHost, given: true }, publicKey, signal));
  }
  return { seen, unread };
}

/** Returns the only chain that a file in `dir` counts for, since copies may lie beside it; null: all chains. */
function onlyChainOf(file: string, { dir, sources }: EvidenceOptions): string | null {
  const isKept = dir !== null && dirname(file) === resolve(dir);
  return isKept && !sources.some((source) => resolve(source) === file) ? basename(file, ".checkpoints") : null;
}

type Signer = {
  readonly publicKey: Uint8Array | null;
  /** The file that the key was read from; null if it came from elsewhere. */
  readonly keyFile: string | null;
  readonly contradiction: string | null;
};

/**
 * Returns the key that must have signed the checkpoints, or null if none is known. An attacker who rewrites log and
 * checkpoints can also place their own key beside them, so a key there that differs from the installation's own is not
 * used. Throws if the text is not a key.
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
  const contradiction = `${file} names a different signing key than this state directory has; signatures were checked with the key of the state directory`;
  return { publicKey: ownKey, keyFile: null, contradiction };
}

type Provenance = Pick<OutsideCheckpoint, "source" | "sameHost" | "given"> & {
  /** The only chain that the file or text counts for; null if it counts for all. */
  readonly only: string | null;
};

type Unread = Pick<Provenance, "source" | "only">;

/** Contents of a file or text: all origins, this installation's checkpoints, and whether any are foreign. */
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
    // There may be many pieces with few checkpoints each, so each one yields to other work.
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

/** Reports whether a configured checkpoint file holds no checkpoint of the chain and none of another installation. */
const isEmpty = ({ checkpoints, given, only, foreign }: Seen, origin: string): boolean =>
  !given && only === null && foreign === null && !checkpoints.some((found) => found.origin === origin);

/** Throws if none of the texts holds a checkpoint: they would neither prove nor contradict anything. */
function refuseEmpty(texts: readonly GivenText[]): void {
  if (texts.length === 0 || texts.some(({ text }) => [...originsIn(text)].length > 0)) return;
  const sources = texts.map(({ source, text }) => (text.trim() === "" ? `${source} (empty)` : source));
  throw new Error(`no checkpoint in ${sources.join(", ")}; pass signed notes that begin with mcpgw/…`);
}

/** Returns the chain that an origin names, or null if the origin belongs to another installation. */
function chainOf(origin: string, install: string): string | null {
  const prefix = originOf(install, "");
  const chain = origin.startsWith(prefix) ? origin.slice(prefix.length) : "";
  return /^[a-z0-9-]+$/.test(chain) ? chain : null;
}

/**
 * Evaluates checkpoints of other origins. A history rewritten under another key has another origin, so checkpoints of
 * the true history look foreign to it. They contradict the log if they are all that was given to prove it. Otherwise
 * they only leave a doubt: an earlier or a neighboring installation may have written them, and an attacker who replaced
 * the log can have added a file of their own.
 */
function strangers(seen: readonly Seen[], install: string) {
  const given = seen.filter((of) => of.given);
  const strange = seen.filter(({ foreign }) => foreign !== null);
  const [first] = given.some(({ own }) => own) ? [] : strange.filter((of) => of.given);
  const foreign = first
    ? `the checkpoint of ${first.foreign} in ${first.source} belongs to another installation; this one is ${originOf(install, "…")}`
    : null;
  const doubtful = strange.filter((of) => (of.given ? of !== first : given.length === 0));
  return {
    foreign,
    doubts: doubtful.map(({ source, foreign: other, own, given: handed }) => {
      const what = own ? `checkpoints of ${other} too` : `only checkpoints of ${other}`;
      const todo = handed && !own ? "pass only the files of this gateway" : "give each installation its own file";
      return `${source} holds ${what}: either another installation wrote them, or this log and its key replaced theirs; in the first case, ${todo}`;
    }),
  };
}
