import { setImmediate } from "node:timers/promises";
import { type AbortSignalLike, throwIfGivenUp } from "../core/cancel.ts";
import { messageOf } from "../core/error-text.ts";
import { type AuditReader, type AuditRow, type PayloadRow, StoreBusy } from "../core/store.ts";
import { verifyExit, type VerifyExit } from "../core/verify-exit.ts";
import { commitmentTo, genesis, hashText, leafOf, saltBytes, sameHash } from "./chain.ts";
import type { FoundCheckpoint } from "./checkpoint.ts";
import { createFrontier } from "./merkle.ts";
import type { Head } from "./outside.ts";
import { prevOf, readRecord } from "./record.ts";

/** The first fault of a chain. `seq` is null if it does not concern a single record. */
export type Bad = { readonly seq: number | null; readonly kind: BadKind; readonly detail: string };

type BadKind =
  | "changed"
  | "unlinked"
  | "missing"
  | "misplaced"
  | "foreign"
  | "truncated"
  | "rewritten"
  | "forged-checkpoint"
  | "foreign-checkpoint"
  | "payload"
  | "damaged"
  | "unreadable";

/** A checkpoint from outside the state directory, and where it was found. */
export type OutsideCheckpoint = FoundCheckpoint & {
  readonly source: string;
  readonly sameHost: boolean;
  /** Whether it was passed with the request; false for checkpoints in configured files and the default one. */
  readonly given: boolean;
};

export type ChainReport = {
  readonly chain: string;
  readonly records: number;
  /** Sequence of the first record: greater than 1 if only a part of the chain was given. */
  readonly first: number;
  readonly exit: VerifyExit;
  readonly bad: Bad | null;
  /** The newest checkpoint that verifies; `at` is epoch ms, `after` counts the uncovered records. */
  readonly checkpoint: {
    readonly source: string;
    readonly size: number;
    readonly at: number | null;
    readonly after: number;
    readonly sameHost: boolean;
  } | null;
  /** Remarks on the evidence: why it leaves a doubt, and which of it proves nothing. */
  readonly notes: readonly string[];
};

/** An assessment of the evidence as a whole. */
export type Appraisal = {
  /** Whether checkpoints were given: then only these can prove the chain, and others only contradict it. */
  readonly onlyGiven: boolean;
  /** Why the given checkpoints, or the key kept outside, belong to another installation; null if they do not. */
  readonly foreign: string | null;
  /** Why no checkpoint proves that this is the log that was originally written. */
  readonly doubts: readonly string[];
  /** Which evidence says nothing about this chain. */
  readonly notes: readonly string[];
};

export type VerifyOptions = {
  readonly chain: string;
  /** Checkpoints of this chain from outside, already checked against the key. */
  readonly checkpoints: readonly OutsideCheckpoint[];
  readonly appraisal: Appraisal;
  /** Whether the records may begin later than the chain does. */
  readonly partial?: boolean;
  /** The key to which the first record must be bound; if null, its `prev` is not checked. */
  readonly publicKey: Uint8Array | null;
  readonly head: Head | null;
};

/** Checks records one by one, in one pass and in constant memory. */
export class Verifier {
  readonly #options: VerifyOptions;
  readonly #forged: OutsideCheckpoint | undefined;
  /** Signed checkpoints, smallest first. */
  readonly #due: readonly OutsideCheckpoint[];
  #passed = 0;
  readonly #frontier = createFrontier();
  /** Number of records of the chain before the first one given. */
  #skipped = 0;
  #prev: string | null;
  #bad: Bad | null = null;

  constructor(options: VerifyOptions) {
    const { chain, publicKey, checkpoints } = options;
    this.#options = options;
    this.#forged = checkpoints.find(({ signed }) => !signed);
    this.#due = checkpoints
      .filter(({ signed, size }) => signed && size > 0)
      // Among checkpoints of one size, one on another host proves more; the last one is reported.
      .sort((a, b) => a.size - b.size || Number(b.sameHost) - Number(a.sameHost));
    this.#prev = publicKey && hashText(genesis(chain, publicKey));
  }

  get size(): number {
    return this.#skipped + this.#frontier.size();
  }

  /** Checks one record. Returns false once something is wrong; later records need not be read then. */
  push(row: AuditRow): boolean {
    if (this.#options.partial && this.size === 0 && row.seq > 1) {
      this.#skipped = row.seq - 1;
      this.#prev = null;
    }
    this.#bad ??= this.#check(row);
    if (this.#bad) return false;
    this.#frontier.append(row.leaf);
    this.#prev = hashText(row.leaf);
    this.#bad = this.#checkRoot(row.seq);
    return this.#bad === null;
  }

  /** Adds a fault found elsewhere, unless there already is one. */
  fail(bad: Bad): void {
    this.#bad ??= bad;
  }

  report(): ChainReport {
    const { chain } = this.#options;
    const { doubts, notes } = this.#options.appraisal;
    const bad = this.#bad ?? this.#truncated() ?? this.#forgery() ?? this.#foreigner();
    const proven = this.#proven;
    const checkpoint = proven && {
      source: proven.source,
      size: proven.size,
      at: proven.at,
      after: this.size - proven.size,
      sameHost: proven.sameHost,
    };
    const fault = bad && (bad.kind === "unreadable" ? "unreadable" : "tampered");
    const exit = verifyExit[fault ?? (proven && doubts.length === 0 ? "proven" : "unproven")];
    const records = this.#frontier.size();
    return { chain, records, first: this.#skipped + 1, exit, bad, checkpoint, notes: [...doubts, ...notes] };
  }

  get #proven(): OutsideCheckpoint | null {
    const passed = this.#due.slice(0, this.#passed);
    return passed.findLast(({ given }) => given || !this.#options.appraisal.onlyGiven) ?? null;
  }

  #check({ seq, rec, leaf }: AuditRow): Bad | null {
    const { chain, head } = this.#options;
    const expected = this.size + 1;
    if (seq < 1) return { seq: null, kind: "misplaced", detail: `record ${seq} comes before the first one` };
    const detail = `record ${expected} is missing; ${seq} follows`;
    if (seq !== expected) return { seq: expected, kind: "missing", detail };
    if (!sameHash(leafOf(rec), leaf)) return { seq, kind: "changed", detail: hashMismatch };
    if (this.#prev !== null && prevOf(rec) !== this.#prev) {
      const begins = "it is not the first record of the chain with this name and public key";
      return { seq, kind: "unlinked", detail: seq === 1 ? begins : "it does not link to the record before it" };
    }
    if (!rec.includes(`"seq":${seq},`))
      return { seq, kind: "misplaced", detail: "its text has a different sequence number" };
    if (!rec.includes(`"chain":"${chain}"`)) return { seq, kind: "foreign", detail: "its text names another chain" };
    if (head?.seq === seq && head.leaf !== hashText(leaf)) {
      return {
        seq,
        kind: "rewritten",
        detail: "it is not the record named by the head note outside the state directory",
      };
    }
    return null;
  }

  #checkRoot(size: number): Bad | null {
    // A root covers every record from the first one on, so a partial chain has nothing to compare.
    if (this.#skipped > 0) return null;
    for (let found = this.#due[this.#passed]; found?.size === size; found = this.#due[this.#passed]) {
      if (!sameHash(found.root, this.#frontier.root())) return this.#rewritten(found);
      this.#passed += 1;
    }
    return null;
  }

  /** If two histories were signed, another checkpoint of the same size may have verified. */
  #rewritten({ size, source }: OutsideCheckpoint): Bad {
    const from = 1 + (this.#due.findLast((other) => other.size < size)?.size ?? 0);
    const detail = `a record from ${from} to ${size} differs from what the checkpoint in ${source} signed`;
    return { seq: from, kind: "rewritten", detail };
  }

  #truncated(): Bad | null {
    const { head } = this.#options;
    if (this.#skipped > 0) return null;
    const beyond = this.#due[this.#passed];
    if (!beyond && (!head || head.seq <= this.size)) return null;
    const known = beyond
      ? `the checkpoint in ${beyond.source} covers ${beyond.size} records`
      : `the head note outside the state directory names record ${head?.seq}`;
    return { seq: this.size + 1, kind: "truncated", detail: `the chain ends at record ${this.size}, but ${known}` };
  }

  #forgery(): Bad | null {
    if (!this.#forged) return null;
    const detail = `a checkpoint in ${this.#forged.source} is not signed by this chain's key`;
    return { seq: null, kind: "forged-checkpoint", detail };
  }

  #foreigner(): Bad | null {
    const { foreign } = this.#options.appraisal;
    return foreign ? { seq: null, kind: "foreign-checkpoint", detail: foreign } : null;
  }
}

/** As many as a streamed query reads at once, since the next page of such a query waits for one of these. */
const pageRows = 200;

/**
 * Verifies a chain in its store, including payloads and SQLite's integrity check. Other work of the thread runs between
 * pages. A chain whose verification was aborted counts as unreadable.
 */
export async function verifyChain(
  reader: AuditReader,
  options: VerifyOptions,
  signal: AbortSignalLike,
): Promise<ChainReport> {
  const { chain } = options;
  const verifier = new Verifier(options);
  try {
    // Starts below 1, since a record before the first one was inserted by someone, whatever its number.
    for (let from = -Infinity; ; from = verifier.size + 1) {
      const rows = await retryWhileBusy(() => reader.page(chain, from, pageRows));
      const intact = rows.every((row) => verifier.push(row));
      if (intact) checkPayloads(reader, chain, rows, verifier);
      if (!intact || rows.length < pageRows) break;
      await setImmediate();
      throwIfGivenUp(signal);
    }
    const damage = reader.integrity(chain);
    if (damage) verifier.fail({ seq: null, kind: "damaged", detail: damage });
  } catch (error) {
    verifier.fail({ seq: null, kind: "unreadable", detail: messageOf(error) });
  }
  return verifier.report();
}

const tries = 50;

/** Retries a read while the database is locked: recovery of its log locks it for a moment. */
async function retryWhileBusy<T>(read: () => T): Promise<T> {
  for (let left = tries; ; left -= 1) {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof StoreBusy) || left === 0) throw error;
      await Bun.sleep(20);
    }
  }
}

function checkPayloads(reader: AuditReader, chain: string, rows: readonly AuditRow[], verifier: Verifier): void {
  const first = rows[0]?.seq ?? 0;
  const last = rows.at(-1)?.seq ?? 0;
  const stored = Map.groupBy(reader.payloads(chain, first, last), ({ seq }) => seq);
  for (const { seq, rec } of rows) {
    const detail = payloadFault(rec, stored.get(seq) ?? []);
    if (detail) return verifier.fail({ seq, kind: "payload", detail });
  }
}

const hashMismatch = "its hash does not match its text";

/** Returns the fault that a record alone reveals in itself or in the payload stored with it; null if there is none. */
export function faultIn({ rec, leaf }: AuditRow, payloads: readonly PayloadRow[] | null): string | null {
  return sameHash(leafOf(rec), leaf) ? payloads && payloadFault(rec, payloads) : hashMismatch;
}

/** Reports whether a record commits to a payload. */
export const commits = (rec: string): boolean => rec.includes('"ad":"') || rec.includes('"rd":"');

/** Returns why the payloads do not match their record, which has at most one; null if they do. */
export function payloadFault(rec: string, payloads: readonly PayloadRow[]): string | null {
  const [row, another] = payloads;
  if (!commits(rec)) return row ? "it has a payload but no commitment" : null;
  const { ad, rd, pay } = readRecord(rec);
  const [part, its] = ad === undefined ? ["result", "its result is"] : ["args", "its args are"];
  if (!row) return `${its} gone`;
  if (another) return "it has a second payload";
  const isOwn = row.part === part && row.salt.length === saltBytes && fits(row, ad ?? rd, pay === "digest");
  return isOwn ? null : `${its} not what was recorded`;
}

/** Reports whether a payload matches its commitment; in mode `digest` no body is stored, so it must be empty. */
function fits({ salt, body }: PayloadRow, commitment: string | undefined, isDigest: boolean): boolean {
  return isDigest ? body === "" : commitmentTo(salt, body) === commitment;
}
