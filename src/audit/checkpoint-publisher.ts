import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/error-text.ts";
import type { AuditEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import { type Anchor, type AuditStore, StoreBusy } from "../core/store.ts";
import { answered } from "./answered.ts";
import { hashBytes, hashText } from "./chain.ts";
import { type FoundCheckpoint, originOf, signCheckpoint } from "./checkpoint.ts";
import type { Frontier } from "./merkle.ts";
import type { AuditOptions } from "./options.ts";
import { appendCheckpoint, checkpointFile, writeHead } from "./outside.ts";
import { installOf, keyId, type SigningKey } from "./signing-key.ts";
import type { Durable, Tip } from "./writer.ts";

/** The last checkpoint that was written to at least one file outside the state directory. */
export type LastCheckpoint = {
  readonly source: string;
  readonly size: number;
  /** Epoch ms. */
  readonly at: number;
};

/** Lag of the checkpoint file that is furthest behind: records after its last checkpoint, and µs since it. */
export type CheckpointLag = { readonly records: number; readonly us: number };

export type PublisherOptions = {
  readonly store: AuditStore;
  readonly chain: string;
  readonly keyPair: SigningKey;
  /** Directory of this installation, outside the state directory. */
  readonly dir: string;
  readonly config: () => Pick<AuditOptions, "checkpoints" | "checkpointEvery">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly frontier: Frontier;
  /** At opening: the newest record, the number of uncovered records, and the newest checkpoint of each file. */
  readonly start: Tip & { readonly uncovered: number; readonly published: ReadonlyMap<string, FoundCheckpoint> };
  /** Returns the sequence below which every call has ended. */
  readonly settled: () => number;
  /** Appends the checkpoint's own record. */
  readonly record: (event: AuditEvent) => void;
};

/** The newest checkpoint written to a file; `since` is on the monotonic clock. */
type Published = { readonly size: number; readonly since: number };
type Pending = { readonly note: string; readonly size: number; readonly at: number };

/** Signs the durable part of a chain and writes checkpoints outside; receives every durable record. */
export class CheckpointPublisher {
  readonly #options: PublisherOptions;
  readonly #origin: string;
  #newest: { readonly seq: number; readonly leaf: string };
  #noted = 0;
  /** Size of the last checkpoint, and its time on the monotonic clock. */
  #signed: number;
  #signedAt: number;
  /** Records since that checkpoint. */
  #fresh: number;
  #last: LastCheckpoint | null = null;
  /** The checkpoint still to be written to each file; a newer one replaces it, since it covers the same records. */
  readonly #pending = new Map<string, Pending>();
  readonly #published = new Map<string, Published>();
  /** Used for a file in which no checkpoint was found. */
  readonly #opened: Published;
  #failing: string | null = null;
  #running: Promise<void> | null = null;

  constructor(options: PublisherOptions) {
    const { start, frontier, clock, keyPair, chain } = options;
    this.#options = options;
    this.#origin = originOf(installOf(keyPair.publicKey), chain);
    this.#newest = { seq: start.seq, leaf: hashText(start.leaf) };
    this.#signed = frontier.size() - start.uncovered;
    this.#signedAt = clock.mono();
    this.#fresh = start.uncovered;
    this.#opened = { size: 0, since: this.#signedAt };
    for (const [file, { size, at }] of start.published) {
      const age = at === null ? 0 : Math.max(0, clock.now() - at * 1000);
      this.#published.set(file, { size, since: this.#signedAt - age });
    }
  }

  get last(): LastCheckpoint | null {
    return this.#last;
  }

  /** Why the head note or a checkpoint could not be written; null if all were written. */
  get failing(): string | null {
    return this.#failing;
  }

  get lag(): CheckpointLag {
    const published = this.#files().map((file) => this.#published.get(file) ?? this.#opened);
    const size = Math.min(...published.map((one) => one.size));
    const since = Math.min(...published.map((one) => one.since));
    return { records: this.#newest.seq - size, us: this.#options.clock.mono() - since };
  }

  append({ tip, leaves }: Durable): void {
    this.#options.frontier.append(leaves);
    this.#fresh += leaves.length / hashBytes;
    this.#newest = { seq: tip.seq, leaf: hashText(tip.leaf) };
  }

  /** Writes the head note, and a checkpoint if one is due; called once a second. */
  tick(): void {
    void this.#run(this.#due());
  }

  /** Writes the head note now, and a checkpoint too if `withCheckpoint` is set and some record is not covered yet. */
  async write(withCheckpoint: boolean): Promise<void> {
    await this.#running;
    await this.#run(withCheckpoint);
  }

  #due(): boolean {
    const { interval, records } = this.#options.config().checkpointEvery;
    return this.#fresh >= records || this.#options.clock.mono() - this.#signedAt >= interval * 1000;
  }

  /** Runs one round of writes at a time; anything due during a round waits for the next second. */
  #run(withCheckpoint: boolean): Promise<void> {
    return (this.#running ??= this.#round(withCheckpoint).finally(() => (this.#running = null)));
  }

  async #round(withCheckpoint: boolean): Promise<void> {
    const { chain, dir, log } = this.#options;
    if (withCheckpoint && this.#fresh > 0) this.#sign();
    const outcomes = await Promise.allSettled([answered(dir, () => this.#writeHeadNote()), this.#export()]);
    const before = this.#failing;
    this.#failing = faultsIn(outcomes);
    // This is tried every second; only a new reason is worth a log line.
    if (this.#failing !== null && this.#failing !== before)
      log.error("audit checkpoint not written", { chain, cause: this.#failing });
  }

  async #writeHeadNote(): Promise<void> {
    const { chain, dir } = this.#options;
    const head = this.#newest;
    if (head.seq === this.#noted) return;
    await writeHead(dir, { chain, ...head });
    this.#noted = head.seq;
  }

  #sign(): void {
    const { frontier, clock, keyPair, settled, record } = this.#options;
    const size = frontier.size();
    const root = frontier.root();
    const at = Math.floor(clock.now() / 1000);
    const note = signCheckpoint({ origin: this.#origin, size, root, at }, keyPair);
    const from = this.#signed;
    // Starts at -1, so that the checkpoint's own record does not make the next one due.
    [this.#fresh, this.#signed, this.#signedAt] = [-1, size, clock.mono()];
    this.#saveAnchor({ size, note, frontier: frontier.save(), settled: settled() });
    const key = keyId(this.#origin, keyPair.publicKey).toHex();
    record({ type: "checkpoint", actor: "system", facts: { size, root: root.toBase64(), key, from } });
    for (const file of this.#files()) this.#pending.set(file, { note, size, at });
  }

  /** Lists the default file before the configured ones: `last` names the last file that took the checkpoint. */
  #files(): string[] {
    const { dir, chain, config } = this.#options;
    return [checkpointFile(dir, chain), ...config().checkpoints.map(({ file }) => file)];
  }

  /** Appends the pending checkpoints. Throws an error that names each file that failed; those are tried again. */
  async #export(): Promise<void> {
    const files = this.#files();
    for (const gone of new Set(this.#pending.keys()).difference(new Set(files))) this.#pending.delete(gone);
    const tries = files.flatMap((file) => {
      const pending = this.#pending.get(file);
      return pending ? [answered(file, () => this.#exportTo(file, pending))] : [];
    });
    const outcomes = await Promise.allSettled(tries);
    const taken = outcomes.findLast((outcome) => outcome.status === "fulfilled");
    if (taken) this.#last = taken.value;
    const failed = faultsIn(outcomes);
    if (failed !== null) throw new Error(failed);
  }

  async #exportTo(file: string, pending: Pending): Promise<LastCheckpoint> {
    const { note, size, at } = pending;
    const torn = await appendCheckpoint(file, note);
    // A newer checkpoint may have become pending while a slow file took this one.
    if (this.#pending.get(file) === pending) this.#pending.delete(file);
    this.#published.set(file, { size, since: this.#options.clock.mono() });
    if (torn) this.#reportTorn(file);
    return { source: file, size, at };
  }

  #reportTorn(file: string): void {
    const { chain, log, record } = this.#options;
    log.warn(
      "an earlier checkpoint in this file was cut short while it was written; it proves nothing and is ignored",
      { chain, file },
    );
    record({ type: "checkpoint.torn", actor: "system", facts: { file } });
  }

  /** Saves an anchor, which only makes the next start faster; if this fails, the next one will do. */
  #saveAnchor(anchor: Anchor): void {
    const { store, chain, log } = this.#options;
    try {
      store.saveAnchor(anchor);
    } catch (error) {
      if (!(error instanceof StoreBusy)) log.warn("audit anchor not saved", { chain, cause: String(error) });
    }
  }
}

/** Returns why some of these failed, in one line, or null if none did. */
function faultsIn(outcomes: readonly PromiseSettledResult<unknown>[]): string | null {
  const faults = outcomes.flatMap((each) => (each.status === "rejected" ? [messageOf(each.reason)] : []));
  return faults.length > 0 ? faults.join("; ") : null;
}
