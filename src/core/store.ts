import type { Era } from "./inbound.ts";

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
  /** Ids of configured keys that were revoked; they outlive file and reload. */
  tombstones(): string[];
  addTombstone(id: string, at: number): void;
  frozen(): boolean;
  setFrozen(on: boolean): void;
};

/** The last known tools of a server, so that it can be listed while it is down or not yet started. */
export type ListStore = {
  recall(server: string, optionsHash: string): { readonly era: Era; readonly tools: readonly string[] } | null;
  remember(server: string, optionsHash: string, era: Era, tools: readonly string[]): void;
};

/** One record of a chain, as stored. */
export type AuditRow = {
  readonly seq: number;
  /** RFC 8785 text. */
  readonly rec: string;
  /** SHA-256(0x00 ‖ rec). */
  readonly leaf: Uint8Array;
};

/** A payload beside its record: `ad` or `rd` of the record is HMAC-SHA256(salt, body). */
export type PayloadRow = {
  readonly seq: number;
  readonly part: "args" | "result";
  readonly salt: Uint8Array;
  readonly body: string;
};

/** The point a chain can be continued or verified from. */
export type Anchor = {
  readonly size: number;
  /** The signed note, empty when only the frontier was saved. */
  readonly note: string;
  /** Merkle frontier, concatenated hashes. */
  readonly frontier: Uint8Array;
};

/** The single writer of one chain. */
export type AuditStore = {
  /** Last record, null for an empty chain. */
  last(): AuditRow | null;
  /** Commits all or nothing; throws `StoreBusy` when another process holds the database, else `StoreFailed`. */
  append(rows: readonly AuditRow[], payloads: readonly PayloadRow[]): void;
  /** Resolves when everything appended before is on stable storage; an error here is final. */
  sync(): Promise<void>;
  anchor(): Anchor | null;
  saveAnchor(anchor: Anchor): void;
  /** Calls that began and never ended: `[call id, seq of its begin record]`. */
  unfinished(): { readonly call: string; readonly seq: number; readonly rec: string }[];
  close(): void;
};

export type AuditQuery = {
  readonly consumer?: string | undefined;
  readonly server?: string | undefined;
  readonly tool?: string | undefined;
  /** Statuses or one of the groups success, error, denied, rate-limited. */
  readonly status?: string | undefined;
  readonly type?: string | undefined;
  /** Epoch µs, inclusive. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly limit?: number | undefined;
};

/** Read access to all chains of a state directory; never writes, pages in short snapshots. */
export type AuditReader = {
  chains(): string[];
  /** Records of a chain from `from` on, oldest first, at most `limit`. */
  page(chain: string, from: number, limit: number): AuditRow[];
  /** Newest first. */
  find(query: AuditQuery): { readonly chain: string; readonly row: AuditRow }[];
  payloads(chain: string, seq: number): PayloadRow[];
  integrity(chain: string): string | null;
  close(): void;
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
  readonly latencyUs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
};

export type UsageStore = {
  /** Last (chain, seq) that was counted, 0 before the first. */
  applied(chain: string): number;
  /** Adds the rows and moves the mark in one transaction. */
  apply(chain: string, upto: number, rows: readonly UsageRow[]): void;
  usage(query: { consumer?: string | undefined; since?: number | undefined; until?: number | undefined }): UsageRow[];
};

/** Another process holds the database; worth another try. */
export class StoreBusy extends Error {}
/** The store cannot record: full, I/O error, replaced. */
export class StoreFailed extends Error {}
