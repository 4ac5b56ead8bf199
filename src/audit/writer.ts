import { type Clock, stallDetector } from "../core/clock.ts";
import { messageOf } from "../core/error-text.ts";
import {
  type AuditRow,
  type AuditStore,
  type NewAuditRow,
  StoreBusy,
  type SubjectRow,
  StoreUnsynced,
} from "../core/store.ts";
import { type Hash, hashBytes, hashText, sha256 } from "./chain.ts";
import type { Draft } from "./draft.ts";
import { createEncoder, type Encoder, type Stamp } from "./record.ts";

/** What a record waits for: to be committed, or to be on stable storage. */
export type Wanted = "commit" | "sync";

/** The record could not be made as durable as required; `committed` says whether it is in the chain nevertheless. */
export class Unrecorded extends Error {
  readonly committed: boolean;

  constructor(reason: string, committed: boolean) {
    super(reason);
    this.name = "Unrecorded";
    this.committed = committed;
  }
}

/** Receives the outcome of a record. */
export type Waiter = {
  /** The record is in the chain, even if waiting for the disk fails afterwards. */
  committed?(seq: number): void;
  /** The record is as durable as wanted. */
  done(): void;
  failed(error: Unrecorded): void;
};

/** Records that have become durable: the last one, the leaves of all, and their texts if `keepText` asks for them. */
export type Durable = { readonly tip: Tip; readonly leaves: Uint8Array; readonly rows: readonly AuditRow[] };

/** The end of a chain. */
export type Tip = { readonly seq: number; readonly leaf: Hash };

export type WriterOptions = {
  readonly store: AuditStore;
  readonly stamp: Stamp;
  readonly start: Tip;
  readonly clock: Clock;
  /** Pseudonyms not yet committed; emptied by the commit that includes them. */
  readonly subjects: SubjectRow[];
  /** Reports whether `onDurable` needs the texts of records. */
  readonly keepText: () => boolean;
  readonly onDurable: (durable: Durable) => void;
  /** Called when a sync failed: the process must end at once and not try again. */
  readonly fatal: (reason: string) => void;
};

type Entry = {
  readonly draft: Draft;
  readonly wanted: Wanted;
  readonly bytes: number;
  /** Monotonic, µs. */
  readonly since: number;
  readonly waiter: Waiter;
  seq: number;
};

const maxQueued = 10_000;
const maxQueuedBytes = 16 << 20;
/** Maximum number of records per commit; more would block the event loop for too long. */
const maxBatch = 512;
/** Maximum number of rows that wait for the once-a-second sync; with more, a sync starts at once. */
const maxUnsynced = 8192;
/** Maximum number of rows that wait for any sync; with more, records are refused until the disk has caught up. */
const maxHeld = 65_536;
const maxWaitUs = { lock: 2_000_000, sync: 5_000_000 };
/** Time between two ticks from which on the process counts as held up. */
const heldUpUs = 2_000_000;
const retryMs = 2;

/** The single writer of a chain: records that arrive in one turn of the event loop become one commit. */
export class Writer {
  readonly #options: WriterOptions;
  readonly #encoder: Encoder;
  readonly #queue: Entry[] = [];
  #queuedBytes = 0;
  #scheduled = false;
  #head: Tip;
  #durable: Tip;
  readonly #leaves = createLeaves();
  /** Committed rows that are not synced yet; kept only while a reader needs their texts. */
  #unsynced: AuditRow[] = [];
  #waiting: Entry[] = [];
  #syncing: Promise<void> | null = null;
  /** Start of the sync in flight; monotonic, µs. */
  #syncingSince = 0;
  /** Monotonic, µs. */
  #ticked: number;
  readonly #isHeldUp = stallDetector(heldUpUs);
  #failing: string | null = null;
  /** Whether the sync in flight takes longer than a caller may wait. */
  #stalled = false;
  #dead = false;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#encoder = createEncoder(options.stamp);
    this.#head = this.#durable = options.start;
    this.#ticked = options.clock.mono();
  }

  /** Newest committed sequence. */
  get committed(): number {
    return this.#head.seq;
  }

  get durable(): Tip {
    return this.#durable;
  }

  /** Why records are refused now; null if they are accepted. */
  get failing(): string | null {
    if (this.#stalled) return "the disk does not answer";
    return this.#failing ?? (this.#full() ? "the disk is too far behind" : null);
  }

  /** Resolves when the record is as durable as wanted; rejects with `Unrecorded` if that fails. */
  record(draft: Draft, wanted: Wanted): Promise<void> {
    return new Promise((done, failed) => this.add(draft, wanted, { done, failed }));
  }

  /**
   * Records a draft; `waiter.failed` may be called before this returns. `alone`: no other record is expected in this
   * turn of the event loop, so the commit does not wait for one.
   */
  add(draft: Draft, wanted: Wanted, waiter: Waiter, alone = false): void {
    if (this.#dead || this.#stalled || this.#full()) {
      return waiter.failed(new Unrecorded(this.failing ?? "closed", false));
    }
    const bytes = 1024 + (draft.fields.tool?.length ?? 0) + (draft.payload?.body.length ?? 0);
    if (this.#queue.length >= maxQueued || this.#queuedBytes + bytes > maxQueuedBytes) {
      return waiter.failed(new Unrecorded("the audit queue is full", false));
    }
    this.#queue.push({ draft, wanted, bytes, since: this.#options.clock.mono(), waiter, seq: 0 });
    this.#queuedBytes += bytes;
    if (alone && this.#queue.length === 1) this.#commit();
    else this.#schedule();
  }

  /** Syncs records that nobody waits for, and fails waiters that have waited too long; called once a second. */
  tick(): void {
    this.#sync();
    const now = this.#options.clock.mono();
    const passed = now - this.#ticked;
    this.#ticked = now;
    // The disk may have answered while the process was held up; that has not been processed yet.
    if (this.#isHeldUp(passed)) return;
    const limit = now - maxWaitUs.sync;
    // Also applies if nobody waits for the sync, as under `relaxed`.
    if (this.#syncing && this.#syncingSince < limit) this.#stalled = true;
    const late = this.#waiting.filter(({ since }) => since < limit);
    if (late.length === 0) return;
    this.#stalled = true;
    this.#waiting = this.#waiting.filter(({ since }) => since >= limit);
    for (const { waiter } of late) waiter.failed(new Unrecorded("the disk does not answer", true));
  }

  /** Commits and syncs what is queued now, but not what arrives while it runs. */
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
    return this.#leaves.count + this.#queue.length >= maxHeld;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#commit());
  }

  #commit(most = maxBatch): void {
    this.#scheduled = false;
    if (this.#dead || this.#queue.length === 0) return;
    const { store, subjects } = this.#options;
    const batch = this.#queue.length > most ? this.#queue.slice(0, most) : this.#queue;
    let rows: NewAuditRow[];
    try {
      rows = this.#build(batch);
    } catch (error) {
      // A record that cannot be encoded never will be. Committing one at a time makes only that record fail.
      return batch.length > 1 ? this.#commit(1) : this.#fail(1, messageOf(error));
    }
    try {
      store.append(rows, subjects);
    } catch (error) {
      return this.#refuse(batch.length, error);
    }
    subjects.length = 0;
    this.#failing = null;
    this.#accept(rows);
    for (const entry of this.#take(batch.length)) this.#settle(entry);
    if (this.#waiting.length > 0 || this.#leaves.count > maxUnsynced) this.#sync();
    if (this.#queue.length > 0) this.#schedule();
  }

  /** Builds a batch's rows; a failed commit leaves only the entries' sequences, which the next one overwrites. */
  #build(batch: readonly Entry[]): NewAuditRow[] {
    const rows: NewAuditRow[] = [];
    this.#encoder.reset();
    let { seq, leaf } = this.#head;
    for (const entry of batch) {
      seq += 1;
      entry.seq = seq;
      const preimage = this.#encoder.encode(entry.draft.fields, seq, hashText(leaf));
      leaf = sha256(preimage);
      rows.push({ seq, rec: preimage.subarray(1), leaf, payload: entry.draft.payload });
    }
    return rows;
  }

  #accept(rows: readonly NewAuditRow[]): void {
    const keep = this.#options.keepText();
    for (const { seq, rec, leaf } of rows) {
      this.#leaves.push(leaf);
      if (keep) this.#unsynced.push({ seq, rec: rec.toString(), leaf });
      this.#head = { seq, leaf };
    }
  }

  #take(count: number): Entry[] {
    const taken = this.#queue.splice(0, count);
    for (const { bytes } of taken) this.#queuedBytes -= bytes;
    return taken;
  }

  #settle(entry: Entry): void {
    entry.waiter.committed?.(entry.seq);
    if (entry.wanted === "sync") this.#waiting.push(entry);
    else entry.waiter.done();
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
    this.#fail(count, reason);
  }

  /** Fails the first `count` entries of the queue. */
  #fail(count: number, reason: string): void {
    for (const { waiter } of this.#take(count)) waiter.failed(new Unrecorded(reason, false));
    if (this.#queue.length > 0) this.#schedule();
  }

  /** Fails overdue entries. The oldest come first, so the search ends at the first one that still has time. */
  #dropOverdue(): void {
    const limit = this.#options.clock.mono() - maxWaitUs.lock;
    const fresh = this.#queue.findIndex(({ since }) => since > limit);
    const overdue = this.#take(fresh === -1 ? this.#queue.length : fresh);
    if (overdue.length === 0) return;
    this.#failing = "another process has locked the audit database";
    for (const { waiter } of overdue) waiter.failed(new Unrecorded(this.#failing, false));
  }

  /** Starts a sync unless one is running; the next one covers everything committed in the meantime. */
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
    const leaves = this.#leaves.take(target.seq - this.#durable.seq);
    this.#durable = target;
    const rows = upTo(this.#unsynced, target.seq);
    this.#unsynced = this.#unsynced.slice(rows.length);
    const done = upTo(this.#waiting, target.seq);
    this.#waiting = this.#waiting.slice(done.length);
    for (const { waiter } of done) waiter.done();
    this.#options.onDurable({ tip: target, leaves, rows });
    if (this.#waiting.length > 0) this.#sync();
  }

  #die(reason: string): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#syncing = null;
    this.#failing = reason;
    for (const { waiter } of this.#waiting) waiter.failed(new Unrecorded(reason, true));
    this.#fail(this.#queue.length, reason);
    this.#waiting = [];
    this.#options.fatal(reason);
  }
}

type Leaves = { readonly count: number; push(leaf: Hash): void; take(count: number): Uint8Array };

/** The leaves of records that are not durable yet, oldest first; in one buffer, since there may be thousands. */
function createLeaves(): Leaves {
  let held = new Uint8Array(256 * hashBytes);
  let count = 0;
  return {
    get count() {
      return count;
    },
    push(leaf) {
      if ((count + 1) * hashBytes > held.length) {
        const larger = new Uint8Array(2 * held.length);
        larger.set(held);
        held = larger;
      }
      held.set(leaf, count * hashBytes);
      count += 1;
    },
    take(wanted) {
      const taken = held.slice(0, wanted * hashBytes);
      held.copyWithin(0, taken.length, count * hashBytes);
      count -= wanted;
      return taken;
    },
  };
}

/** Returns the leading items whose sequence is at most `seq`; sequences ascend. */
function upTo<T extends { readonly seq: number }>(items: readonly T[], seq: number): readonly T[] {
  const split = items.findIndex((item) => item.seq > seq);
  return split === -1 ? items : items.slice(0, split);
}
