import type { Era } from "./inbound.ts";
import type { ListName } from "./lists.ts";

// The storage ports, in terms of the domain, free of SQL.

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
  /** Returns the ids and hashes of configured keys that were revoked; they outlive the file and a reload. */
  tombstones(): string[];
  addTombstone(id: string, at: number): void;
  /** Changes whenever another process changes keys, tombstones or the freeze; cheap to read. */
  version(): string;
  frozen(): boolean;
  setFrozen(on: boolean): void;
  /** Returns when keys were last used, in epoch ms by key id. */
  uses(): ReadonlyMap<string, number>;
  /** A use earlier than the stored one changes nothing. */
  saveUses(uses: ReadonlyMap<string, number>): void;
};

/** What a server offered when it was last listed, in its own definitions. */
export type Remembered = Readonly<Record<ListName, readonly string[]>> & {
  readonly era: Era;
  /** Raw JSON; `null` if the server has not declared any yet. */
  readonly capabilities: string;
  readonly instructions: string | null;
};

/** The eras that a server speaks, and when they were detected. */
export type RememberedEras = {
  readonly speaks: "modern" | "legacy" | "both";
  readonly at: number;
};

/** What is known about a server, so that it can be listed while it is not running; tied to the server's options. */
export type ListStore = {
  recall(server: string, optionsHash: string): Remembered | null;
  remember(server: string, optionsHash: string, offers: Remembered): void;
  recallEras(server: string, optionsHash: string): RememberedEras | null;
  /** Null forgets them. */
  rememberEras(server: string, optionsHash: string, eras: RememberedEras | null): void;
  /** Forgets a server, except what another process stored under the same id for other options. */
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

/** A record's payload, at most one: `ad` or `rd` of the record is HMAC-SHA256(salt, body). */
export type Payload = { readonly part: "args" | "result"; readonly salt: Uint8Array; readonly body: string };

export type PayloadRow = Payload & { readonly seq: number };

/** A record to be stored. If its text is UTF-8 bytes, they are only read during the call. */
export type NewAuditRow = Omit<AuditRow, "rec"> & {
  readonly rec: string | Buffer;
  readonly payload: Payload | null;
};

/** A point from which a chain can be continued or verified. */
export type Anchor = {
  readonly size: number;
  /** The signed note. */
  readonly note: string;
  /** Merkle frontier, concatenated hashes. */
  readonly frontier: Uint8Array;
  /** All calls that began before this sequence number have ended. */
  readonly settled: number;
};

/** What a pseudonym in the records stands for; erasing the row leaves the chain intact. */
export type SubjectRow = { readonly id: string; readonly salt: Uint8Array; readonly value: string };

/** The single writer of one chain. */
export type AuditStore = Disposable & {
  /** Returns the last record; null for an empty chain. */
  last(): AuditRow | null;
  /** Commits all rows or none. Throws `StoreBusy` if another process holds the database, otherwise `StoreFailed`. */
  append(rows: readonly NewAuditRow[], subjects?: readonly SubjectRow[]): void;
  /** Resolves once everything appended before is on stable storage; an error here is final. */
  sync(): Promise<void>;
  anchor(): Anchor | null;
  saveAnchor(anchor: Anchor): void;
  /** Returns the first record of each call that never ended, found from the saved anchor's `settled` on. */
  unfinished(): Omit<AuditRow, "leaf">[];
  /** Returns records from `from` on, oldest first, at most `limit`. */
  page(from: number, limit: number): AuditRow[];
  /** Returns why the files no longer reliably keep what is written (deleted, replaced, no permission), or null. */
  fault(): string | null;
};

export type AuditQuery = {
  readonly consumer?: string | undefined;
  readonly server?: string | undefined;
  readonly tool?: string | undefined;
  /** A status, or one of the groups success, error, denied, rate-limited. */
  readonly status?: string | undefined;
  /** A type, or its start followed by `*`; if absent, everything except `omittedTypes`. */
  readonly type?: string | undefined;
  /** Epoch µs, inclusive. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly limit?: number | undefined;
};

export type FoundRow = { readonly chain: string; readonly row: AuditRow };

/** The records that a search found, newest first, and the chains that could not be read. */
export type Found = { readonly rows: readonly FoundRow[]; readonly unread: readonly string[] };

/** Read access to all chains of a state directory; never writes, and reads pages in short snapshots. */
export type AuditReader = Disposable & {
  chains(): string[];
  /** Returns records of a chain from `from` on, oldest first, at most `limit`. */
  page(chain: string, from: number, limit: number): AuditRow[];
  /** Throws if there are chains and none of them can be read. */
  find(query: AuditQuery): Found;
  /** Returns the payloads of the records `from` to `upto`, inclusive; without `upto`, of one record. */
  payloads(chain: string, from: number, upto?: number): PayloadRow[];
  /** Returns the last record; null for an empty chain. */
  last(chain: string): AuditRow | null;
  /** Returns what a pseudonym stands for; null if unknown or erased. */
  subject(chain: string, id: string): SubjectRow | null;
  /** Returns what SQLite finds wrong with the file; null if nothing. */
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

/** The columns that identify a row of usage. */
export type UsageKey = "consumer" | "server" | "tool" | "hour";

export type UsageQuery = {
  readonly consumer?: string | undefined;
  /** Epoch µs. An hour that `since` or `until` falls into counts in full; one that begins at `until` does not count. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /**
   * The columns to group by; all if absent. The others are empty or 0 in the result. Rows in which every call was
   * denied are never added to other rows.
   */
  readonly apart?: readonly UsageKey[];
};

/** The period by which usage is counted, µs. */
export const hourUs = 3_600_000_000;

/** Returns the first epoch hour of a query and the one after its last; adjacent periods share none. */
export function hoursOf({ since = 0, until = Number.MAX_SAFE_INTEGER }: UsageQuery): [first: number, end: number] {
  return [Math.floor(since / hourUs), Math.ceil(until / hourUs)];
}

/** What was counted, and up to which record of each chain. */
export type CountedUsage = { readonly rows: readonly UsageRow[]; readonly marks: ReadonlyMap<string, number> };

export type UsageStore = {
  /** Returns the sequence number of the last record counted; 0 before the first. */
  usageMark(chain: string): number;
  /** Adds the rows and moves the mark in one transaction. Throws `StoreBusy` if the mark is no longer at `from`. */
  apply(chain: string, from: number, upto: number, rows: readonly UsageRow[]): void;
  counted(query: UsageQuery): CountedUsage;
};

/** Another process holds the database; a retry may succeed. */
export class StoreBusy extends Error {}
/** The store cannot record: full, I/O error, replaced. */
export class StoreFailed extends Error {}
/** A sync failed: committed records may be lost, and a retry would hide that. The process must end. */
export class StoreUnsynced extends StoreFailed {}

/** What helps where the file of a log is damaged, or a record in it was changed. */
export const renewLog =
  "restore the newest copy of the log's file, its -wal and -shm away; or, to begin the log anew, move that file away " +
  "with both, and keep it as evidence: the next start names what else has to be moved";
