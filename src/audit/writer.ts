import type { Clock } from "../core/clock.ts";
import {
  type AuditRow,
  type AuditStore,
  type PayloadRow,
  StoreBusy,
  type SubjectRow,
  StoreUnsynced,
} from "../core/store.ts";
import { type Hash, hashText, leafOf } from "./chain.ts";
import type { Draft } from "./draft.ts";
import { createRenderer, type Stamp } from "./record.ts";

/** What a record waits for: to be committed, or to be on stable storage. */
export type Wanted = "commit" | "sync";

/** The record could not be made as durable as it must be; `committed` says whether it is in the chain nevertheless. */
export class Unrecorded extends Error {
  readonly committed: boolean;

  constructor(reason: string, committed: boolean) {
    super(reason);
    this.name = "Unrecorded";
    this.committed = committed;
  }
}

/** A record that is on stable storage; `rec` is empty when nobody asked for it. */
export type DurableRow = { readonly seq: number; readonly rec: string; readonly leaf: Hash };

/** The end of a chain. */
export type Tip = { readonly seq: number; readonly leaf: Hash };

export type WriterOptions = {
  readonly store: AuditStore;
  readonly stamp: Stamp;
  readonly start: Tip;
  readonly clock: Clock;
  /** Pseudonyms that no commit has carried yet; emptied by the commit that does. */
  readonly subjects: SubjectRow[];
  /** Whether `onDurable` wants the text of a record. */
  readonly keepText: () => boolean;
  readonly onDurable: (rows: readonly DurableRow[]) => void;
  /** A sync failed: the process must end. */
  readonly fatal: (reason: string) => void;
};

type Entry = {
  readonly draft: Draft;
  readonly wanted: Wanted;
  readonly bytes: number;
  /** Monotonic, µs. */
  readonly since: number;
  readonly onCommit: ((seq: number) => void) | undefined;
  seq: number;
  readonly resolve: () => void;
  readonly reject: (error: Unrecorded) => void;
};

const maxQueued = 10_000;
const maxQueuedBytes = 16 << 20;
/** Records of one commit: more would hold up the event loop. */
const maxBatch = 512;
/** Rows that wait for the once-a-second sync before one is asked for at once. */
const maxUnsynced = 8192;
/** Rows that wait for a sync in all: a disk this far behind gets no more. */
const maxHeld = 65_536;
const maxWaitUs = { lock: 2_000_000, sync: 5_000_000 };
const retryMs = 2;

/** The single writer of a chain: what arrives in one turn of the event loop becomes one commit. */
export class Writer {
  readonly #options: WriterOptions;
  readonly #render: ReturnType<typeof createRenderer>;
  readonly #queue: Entry[] = [];
  #queuedBytes = 0;
  #scheduled = false;
  #head: Tip;
  #durable: Tip;
  #unsynced: DurableRow[] = [];
  #waiting: Entry[] = [];
  #syncing: Promise<void> | null = null;
  /** When the sync in flight began; monotonic, µs. */
  #syncingSince = 0;
  #failing: string | null = null;
  /** The sync in flight takes longer than a caller may wait. */
  #stalled = false;
  #dead = false;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#render = createRenderer(options.stamp);
    this.#head = this.#durable = options.start;
  }

  /** Newest committed sequence. */
  get committed(): number {
    return this.#head.seq;
  }

  get durable(): Tip {
    return this.#durable;
  }

  /** Why records are refused now; null while they are not. */
  get failing(): string | null {
    if (this.#stalled) return "the disk does not answer";
    return this.#failing ?? (this.#full() ? "the disk is too far behind" : null);
  }

  /**
   * Resolves when the record is as durable as wanted, else rejects with `Unrecorded`. `onCommit` is told its sequence
   * once it is in the chain, also when waiting for the disk then fails.
   */
  add(draft: Draft, wanted: Wanted, onCommit?: (seq: number) => void): Promise<void> {
    if (this.#dead || this.#stalled || this.#full())
      return Promise.reject(new Unrecorded(this.failing ?? "closed", false));
    const bytes = draft.payloads.reduce((sum, { body }) => sum + body.length, 1024);
    if (this.#queue.length >= maxQueued || this.#queuedBytes + bytes > maxQueuedBytes) {
      return Promise.reject(new Unrecorded("the audit queue is full", false));
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const since = this.#options.clock.mono();
    this.#queue.push({ draft, wanted, bytes, since, onCommit, seq: 0, resolve, reject });
    this.#queuedBytes += bytes;
    this.#schedule();
    return promise;
  }

  /** Once a second: syncs what no record waits for, and gives up on waiters whose time is over. */
  tick(): void {
    this.#sync();
    const limit = this.#options.clock.mono() - maxWaitUs.sync;
    // Also when nobody waits for it, as under `relaxed`.
    if (this.#syncing && this.#syncingSince < limit) this.#stalled = true;
    const late = this.#waiting.filter(({ since }) => since < limit);
    if (late.length === 0) return;
    this.#stalled = true;
    this.#waiting = this.#waiting.filter(({ since }) => since >= limit);
    for (const entry of late) entry.reject(new Unrecorded("the disk does not answer", true));
  }

  /** Commits and syncs what is queued now, not what comes meanwhile. */
  async drain(): Promise<void> {
    const target = this.#head.seq + this.#queue.length;
    const behind = (): boolean => this.#queue.length > 0 || this.#durable.seq < this.#head.seq;
    while (!this.#dead && this.#durable.seq < target && behind()) {
      this.#commit();
      this.#sync();
      await (this.#syncing ?? Bun.sleep(retryMs));
    }
  }

  #full(): boolean {
    return this.#unsynced.length + this.#queue.length >= maxHeld;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#commit());
  }

  #commit(): void {
    this.#scheduled = false;
    if (this.#dead || this.#queue.length === 0) return;
    const { store, subjects } = this.#options;
    const batch = this.#queue.slice(0, maxBatch);
    const { rows, payloads } = this.#build(batch);
    try {
      store.append(rows, payloads, subjects);
    } catch (error) {
      return this.#refuse(batch.length, error);
    }
    subjects.length = 0;
    this.#failing = null;
    this.#accept(rows);
    for (const entry of this.#take(batch.length)) this.#settle(entry);
    if (this.#waiting.length > 0 || this.#unsynced.length > maxUnsynced) this.#sync();
    if (this.#queue.length > 0) this.#schedule();
  }

  /** Nothing of this outlives a failed commit but the sequence in the entries, which the next try overwrites. */
  #build(batch: readonly Entry[]): { rows: AuditRow[]; payloads: PayloadRow[] } {
    const rows: AuditRow[] = [];
    const payloads: PayloadRow[] = [];
    let { seq, leaf } = this.#head;
    for (const entry of batch) {
      seq += 1;
      entry.seq = seq;
      const rec = this.#render(entry.draft.fields, seq, hashText(leaf));
      leaf = leafOf(rec);
      rows.push({ seq, rec, leaf });
      for (const payload of entry.draft.payloads) payloads.push({ seq, ...payload });
    }
    return { rows, payloads };
  }

  #accept(rows: readonly AuditRow[]): void {
    this.#head = rows.at(-1) ?? this.#head;
    const keep = this.#options.keepText();
    for (const row of rows) this.#unsynced.push(keep ? row : { seq: row.seq, rec: "", leaf: row.leaf });
  }

  #take(count: number): Entry[] {
    const taken = this.#queue.splice(0, count);
    for (const { bytes } of taken) this.#queuedBytes -= bytes;
    return taken;
  }

  #settle(entry: Entry): void {
    entry.onCommit?.(entry.seq);
    if (entry.wanted === "sync") this.#waiting.push(entry);
    else entry.resolve();
  }

  #refuse(count: number, error: unknown): void {
    const reason = messageOf(error);
    if (error instanceof StoreUnsynced) return this.#die(reason);
    if (error instanceof StoreBusy) {
      this.#dropOverdue();
      this.#scheduled = this.#queue.length > 0;
      if (this.#scheduled) setTimeout(() => this.#commit(), retryMs);
      return;
    }
    this.#failing = reason;
    for (const entry of this.#take(count)) entry.reject(new Unrecorded(reason, false));
    if (this.#queue.length > 0) this.#schedule();
  }

  /** The oldest come first, so the first that still has time ends the search. */
  #dropOverdue(): void {
    const limit = this.#options.clock.mono() - maxWaitUs.lock;
    const fresh = this.#queue.findIndex(({ since }) => since > limit);
    const overdue = this.#take(fresh === -1 ? this.#queue.length : fresh);
    if (overdue.length === 0) return;
    this.#failing = "another process has locked the audit database";
    for (const entry of overdue) entry.reject(new Unrecorded(this.#failing, false));
  }

  /** One in flight; the next takes all that were committed meanwhile. */
  #sync(): void {
    if (this.#dead || this.#syncing || this.#durable.seq === this.#head.seq) return;
    const target = this.#head;
    this.#syncingSince = this.#options.clock.mono();
    this.#syncing = this.#options.store.sync().then(
      () => this.#onSynced(target),
      (error: unknown) => this.#die(messageOf(error)),
    );
  }

  #onSynced(target: Tip): void {
    this.#syncing = null;
    this.#stalled = false;
    this.#durable = target;
    const rows = upTo(this.#unsynced, target.seq);
    this.#unsynced = this.#unsynced.slice(rows.length);
    const done = upTo(this.#waiting, target.seq);
    this.#waiting = this.#waiting.slice(done.length);
    for (const entry of done) entry.resolve();
    this.#options.onDurable(rows);
    if (this.#waiting.length > 0) this.#sync();
  }

  #die(reason: string): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#syncing = null;
    this.#failing = reason;
    for (const entry of this.#waiting) entry.reject(new Unrecorded(reason, true));
    for (const entry of this.#take(this.#queue.length)) entry.reject(new Unrecorded(reason, false));
    this.#waiting = [];
    this.#options.fatal(reason);
  }
}

/** The items at the start whose sequence is `seq` at most; they ascend. */
function upTo<T extends { readonly seq: number }>(items: readonly T[], seq: number): readonly T[] {
  const split = items.findIndex((item) => item.seq > seq);
  return split === -1 ? items : items.slice(0, split);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
