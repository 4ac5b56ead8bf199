import type { Era } from "./inbound.ts";
import type { ListName } from "./lists.ts";

// The storage ports: verbs of the domain, nothing of SQL.

/** A stored API key; the key itself is never stored. */
export type StoredKey = {
  readonly id: string;
  /** SHA-256 of the key, hex. */
  readonly hash: string;
  readonly name: string;
  readonly consumerId: string;
  readonly roles: readonly string[];
  readonly enabled: boolean;
  /** Epoch ms; null: never. */
  readonly expiresAt: number | null;
  readonly perMinute: number | null;
  readonly cidrs: readonly string[];
  /** Epoch ms. */
  readonly createdAt: number;
  readonly revokedAt: number | null;
};

export type KeyStore = {
  keys(): StoredKey[];
  addKey(key: StoredKey): void;
  revokeKey(id: string, at: number): void;
  /** Ids and hashes of configured keys that were revoked; they outlive the file and a reload. */
  tombstones(): string[];
  addTombstone(id: string, at: number): void;
  /** Changes whenever another process has changed keys, tombstones or the freeze; cheap to ask. */
  version(): string;
  frozen(): boolean;
  setFrozen(on: boolean): void;
  /** When keys were used last, epoch ms by key id. */
  uses(): ReadonlyMap<string, number>;
  /** An earlier use than the stored one changes nothing. */
  saveUses(uses: ReadonlyMap<string, number>): void;
};

/** What a server offered when it was last listed: definitions as it wrote them. */
export type Remembered = Readonly<Record<ListName, readonly string[]>> & {
  readonly era: Era;
  /** Raw JSON; `null` if the server has not said what it has. */
  readonly capabilities: string;
  readonly instructions: string | null;
};

/** The eras that a server speaks, and when that was found out. */
export type RememberedEras = {
  readonly speaks: "modern" | "legacy" | "both";
  /** Epoch ms. */
  readonly at: number;
};

/**
 * What is known of a server, so that it can be listed while it is down or not yet started. It is bound to the server's
 * options.
 */
export type ListStore = {
  recall(server: string, optionsHash: string): Remembered | null;
  remember(server: string, optionsHash: string, offers: Remembered): void;
  recallEras(server: string, optionsHash: string): RememberedEras | null;
  /** Null forgets it. */
  rememberEras(server: string, optionsHash: string, eras: RememberedEras | null): void;
  /** Forgets a server. What the configuration of another process has under the same id with other options stays. */
  forget(server: string, optionsHash: string): void;
};

/** One record of a chain, as stored. */
export type AuditRow = {
  readonly seq: number;
  /** RFC 8785 text. */
  readonly rec: string;
  /** SHA-256(0x00 ‖ rec). */
  readonly leaf: Uint8Array;
};

/** The payload beside a record, at most one: `ad` or `rd` of the record is HMAC-SHA256(salt, body). */
export type Payload = { readonly part: "args" | "result"; readonly salt: Uint8Array; readonly body: string };

export type PayloadRow = Payload & { readonly seq: number };

/** One record to be stored; its text may be UTF-8 bytes, which are only read during the call. */
export type NewAuditRow = Omit<AuditRow, "rec"> & {
  readonly rec: string | Buffer;
  readonly payload: Payload | null;
};

/** The point a chain can be continued or verified from. */
export type Anchor = {
  readonly size: number;
  /** The signed note. */
  readonly note: string;
  /** Merkle frontier, concatenated hashes. */
  readonly frontier: Uint8Array;
  /** All calls that began before this sequence have ended. */
  readonly settled: number;
};

/** What a pseudonym in the records stands for; erasing the row leaves the chain whole. */
export type SubjectRow = { readonly id: string; readonly salt: Uint8Array; readonly value: string };

/** The single writer of one chain. */
export type AuditStore = Disposable & {
  /** Last record, null for an empty chain. */
  last(): AuditRow | null;
  /** Commits all or nothing. Throws `StoreBusy` if another process holds the database, else `StoreFailed`. */
  append(rows: readonly NewAuditRow[], subjects?: readonly SubjectRow[]): void;
  /** Resolves once everything appended before is on stable storage; an error here is final. */
  sync(): Promise<void>;
  anchor(): Anchor | null;
  saveAnchor(anchor: Anchor): void;
  /** The first record of each call that never ended, found by the saved anchor's `settled` and the records after it. */
  unfinished(): Omit<AuditRow, "leaf">[];
  /** Records from `from` on, oldest first, at most `limit`. */
  page(from: number, limit: number): AuditRow[];
  /**
   * Why the files can no longer be trusted to keep what is written (deleted, replaced, no permission); null if they
   * can.
   */
  fault(): string | null;
};

export type AuditQuery = {
  readonly consumer?: string | undefined;
  readonly server?: string | undefined;
  readonly tool?: string | undefined;
  /** Statuses or one of the groups success, error, denied, rate-limited. */
  readonly status?: string | undefined;
  /** A type, or the beginning of one and `*`; absent: everything but `leftOutTypes`. */
  readonly type?: string | undefined;
  /** Epoch µs, inclusive. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly limit?: number | undefined;
};

export type FoundRow = { readonly chain: string; readonly row: AuditRow };

/** What a search came upon, newest first, and the chains that could not be read. */
export type Found = { readonly rows: readonly FoundRow[]; readonly unread: readonly string[] };

/** Read access to all chains of a state directory; never writes, pages in short snapshots. */
export type AuditReader = Disposable & {
  chains(): string[];
  /** Records of a chain from `from` on, oldest first, at most `limit`. */
  page(chain: string, from: number, limit: number): AuditRow[];
  /** Throws where there are chains and none of them can be read. */
  find(query: AuditQuery): Found;
  /** Payloads of the records `from` to `upto`, both included; without `upto` of the one record. */
  payloads(chain: string, from: number, upto?: number): PayloadRow[];
  /** The last record, null for an empty chain. */
  last(chain: string): AuditRow | null;
  /** What a pseudonym stands for; null if unknown or erased. */
  subject(chain: string, id: string): SubjectRow | null;
  /** What SQLite finds wrong with the file, null when nothing. */
  integrity(chain: string): string | null;
};

/** Usage of one consumer, server, tool and hour. */
export type UsageRow = {
  readonly consumer: string;
  readonly server: string;
  readonly tool: string;
  /** Epoch hours. */
  readonly hour: number;
  readonly calls: number;
  readonly errors: number;
  readonly denied: number;
  /** Sum of durations, µs. */
  readonly latencySumUs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
};

/** What rows of usage differ in. */
export type UsageKey = "consumer" | "server" | "tool" | "hour";

export type UsageQuery = {
  readonly consumer?: string | undefined;
  /** Epoch µs; an hour that one of them falls into counts whole, one that begins with `until` does not. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /**
   * What counted rows are told apart by; absent: by all. What else they differ in is empty or 0, except that what was
   * always refused is never added to what was not.
   */
  readonly apart?: readonly UsageKey[];
};

/** The span by which usage is counted, µs. */
export const hourUs = 3_600_000_000;

/** The first epoch hour that a query asks for, and the one after the last; periods that touch have none in common. */
export function hoursOf({ since = 0, until = Number.MAX_SAFE_INTEGER }: UsageQuery): [first: number, end: number] {
  return [Math.floor(since / hourUs), Math.ceil(until / hourUs)];
}

/** What was counted, and up to which record of each chain. */
export type CountedUsage = { readonly rows: readonly UsageRow[]; readonly marks: ReadonlyMap<string, number> };

export type UsageStore = {
  /** Last (chain, seq) that was counted, 0 before the first. */
  usageMark(chain: string): number;
  /** Adds the rows and moves the mark in one transaction. Throws `StoreBusy` if the mark is no longer at `from`. */
  apply(chain: string, from: number, upto: number, rows: readonly UsageRow[]): void;
  counted(query: UsageQuery): CountedUsage;
};

/** Another process holds the database; worth another try. */
export class StoreBusy extends Error {}
/** The store cannot record: full, I/O error, replaced. */
export class StoreFailed extends Error {}
/** A sync failed: committed records may be lost, and trying again would hide that. The process must end. */
export class StoreUnsynced extends StoreFailed {}

/** What helps where the file of a log is damaged, or a record in it was changed. */
export const renewLog =
  "restore the newest copy of the log's file, its -wal and -shm away; or, to begin the log anew, move that file away " +
  "with both, and keep it as evidence: the next start names what else has to be moved";
