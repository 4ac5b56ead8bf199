import type { Call, IdentifiedCall, BegunCall } from "../core/call.ts";
import type { AuditEvent, Facts } from "../core/event.ts";
import { Failure } from "../core/failure.ts";
import { List } from "../core/linked-list.ts";
import type { Audit, InputStep, Reached } from "../core/ports.ts";
import { Backlog, type BacklogOptions } from "./backlog.ts";
import {
  type CheckpointLag,
  CheckpointPublisher,
  type LastCheckpoint,
  type PublisherOptions,
} from "./checkpoint-publisher.ts";
import { createClockWatch } from "./clock-watch.ts";
import { type Draft, Drafts } from "./draft.ts";
import { createFeed, type FeedReader } from "./feed.ts";
import { FloodControl } from "./flood.ts";
import type { AuditOptions } from "./options.ts";
import { type Durable, Unrecorded, type Wanted, Writer, type WriterOptions } from "./writer.ts";

export type AuditHealth = {
  readonly chain: string;
  /** False if new calls are refused, or pass unrecorded under `onFailure: allow`. */
  readonly ok: boolean;
  readonly reason: string | null;
  readonly durability: AuditOptions["durability"];
  readonly payloads: AuditOptions["payloads"];
  readonly onFailure: AuditOptions["onFailure"];
  /** Newest committed and newest durable sequence. */
  readonly records: number;
  readonly durable: number;
  readonly checkpoint: LastCheckpoint | null;
  /** Why the last checkpoint could not be written outside the state directory; null if it was. */
  readonly checkpointFault: string | null;
  readonly checkpointLag: CheckpointLag;
  /** Calls that passed unrecorded under `onFailure: allow`, plus acts dropped from a full backlog. */
  readonly unrecorded: number;
  /** Acts that took effect and are not recorded yet. */
  readonly backlog: number;
};

/** Options that the broker passes on to its parts. */
type PartOptions = Pick<PublisherOptions, "store" | "keyPair" | "dir" | "clock" | "log" | "frontier" | "start"> &
  Pick<WriterOptions, "stamp" | "fatal"> &
  Pick<BacklogOptions, "lost">;

export type BrokerOptions = PartOptions & {
  readonly config: AuditOptions;
  /** Returns the current secrets, which no payload may show. */
  readonly secrets: () => readonly string[];
  /** Interval of the rounds that sync, sign and count, in ms; default: 1000. */
  readonly tick?: number | undefined;
};

type Stage = "begin" | "once" | "input" | "end";

/** Returns what a record waits for: under `standard`, only the end record does not wait for the disk. */
const wantedFor = (durability: AuditOptions["durability"], stage: Stage | "act"): Wanted =>
  durability === "relaxed" || (durability === "standard" && stage === "end") ? "commit" : "sync";

const refusal: Record<Stage | "act" | "refused", string> = {
  begin: "The gateway cannot record this call now; try again shortly.",
  once: "The gateway cannot record this subscription now, so it was not made; try again shortly.",
  input: "The gateway cannot record the question to the caller or its answer now, so it is withheld.",
  end: "The call ended, but its outcome could not be recorded, so the result is withheld; the call may have had an effect.",
  refused:
    "The call was refused, but the gateway cannot record the refusal now, so the reason is withheld; try again shortly.",
  act: "The gateway cannot record this act now, so it is refused; try again shortly.",
};

const nothing = Promise.resolve();
const defaultTick = 1000;

/** The audit chain of this process: records calls and events, and reports its state to operators. */
export class AuditBroker implements Audit {
  readonly chain: string;
  readonly #options: BrokerOptions;
  readonly #drafts: Drafts;
  readonly #writer: Writer;
  readonly #checkpoints: CheckpointPublisher;
  readonly #feed = createFeed();
  readonly #flood: FloodControl;
  readonly #backlog: Backlog;
  readonly #clockStep: () => number | null;
  readonly #timer: Timer;
  readonly #listeners: ((seq: number) => void)[] = [];
  /** Sequences of begin records whose end is not committed yet. */
  readonly #open = new List<number>();
  #config: AuditOptions;
  /** Calls that passed partly unrecorded: all of them, those already reported in a record, and the last cause. */
  #passed = { calls: 0, told: 0, cause: "" };
  /** Why the log accepted no records, until a record reports the outage. */
  #outage: string | null = null;
  #resuming = false;

  constructor(options: BrokerOptions) {
    const { clock, stamp, secrets } = options;
    this.chain = stamp.chain;
    this.#options = options;
    this.#config = options.config;
    this.#drafts = new Drafts(options.config, secrets, clock);
    this.#clockStep = createClockWatch(clock);
    this.#flood = new FloodControl({
      drafts: this.#drafts,
      clock,
      log: options.log,
      offer: (draft) => this.#offer(draft),
    });
    this.#writer = new Writer({
      ...options,
      subjects: this.#drafts.subjects,
      keepText: () => this.#feed.followed,
      onDurable: (durable) => this.#onDurable(durable),
    });
    this.#backlog = new Backlog({ ...options, writer: this.#writer, drafts: this.#drafts, open: this.#open });
    this.#checkpoints = new CheckpointPublisher({
      ...options,
      chain: stamp.chain,
      config: () => this.#config,
      settled: () => this.#open.first ?? this.#writer.committed + 1,
      record: (event) => void this.#note(event),
    });
    this.#timer = setInterval(() => this.#tick(), options.tick ?? defaultTick).unref();
    this.#backlog.record();
  }

  async begin(call: IdentifiedCall): Promise<BegunCall> {
    await this.#record(call, "begin", this.#drafts.begin(call));
    return call as BegunCall; // recorded, or passed without a record
  }

  once(call: Call, facts: Facts): Promise<void> {
    return this.#record(call, "once", this.#drafts.once(call, facts));
  }

  input(call: Call, step: InputStep): Promise<void> {
    return this.#record(call, "input", this.#drafts.input(call, step, call.beginning?.item));
  }

  async inputOutside(to: Reached, server: string, step: InputStep): Promise<void> {
    const draft = this.#drafts.inputOutside(to, server, step);
    await this.#writer.record(draft, wantedFor(this.#config.durability, "input")).catch((error: unknown) => {
      throw unavailable("input", String(error));
    });
  }

  end(call: Call): Promise<void> {
    // A subscription has one record, written when it begins. The revocation or reload that ends it has its own record.
    if (call.recordedOnce) return nothing;
    if (!call.begun && !call.failure) return nothing;
    try {
      const draft = call.begun ? this.#drafts.end(call, call.beginning?.item) : this.#flood.refused(call);
      return draft ? this.#record(call, "end", draft) : nothing;
    } catch (error) {
      // Otherwise its begin record would stay without an end for as long as the gateway runs.
      this.#backlog.addEnding(call);
      throw error;
    }
  }

  async recordEvent(event: AuditEvent): Promise<void> {
    // A session that would only be counted must not be let through while the log accepts no records.
    const counts = event.type === "session.close" || (event.type === "session.open" && this.#writer.failing === null);
    if (counts && !this.#flood.admitsSession(event)) return;
    // The actor must not get a confirmation while a power cut could still undo the record.
    const isAct = /^(key|admin)\./.test(event.type);
    if (isAct) this.#backlog.record(true);
    const wanted = isAct ? wantedFor(this.#config.durability, "act") : "commit";
    await this.#writer.record(this.#drafts.event(event), wanted).catch((error: unknown) => {
      // A committed act must take effect: refused now, it would be recorded although it never happened.
      if (error instanceof Unrecorded && error.committed) return;
      throw unavailable("act", String(error));
    });
  }

  /** Records an act that has happened; resolves to false if it goes to the backlog (or is lost if that is full). */
  async recordDone(event: AuditEvent): Promise<boolean> {
    const draft = this.#drafts.event(event);
    this.#backlog.record(true);
    try {
      await this.#writer.record(draft, wantedFor(this.#config.durability, "act"));
      return true;
    } catch (error) {
      if (!(error instanceof Unrecorded && error.committed)) this.#backlog.addAct(draft);
      return false;
    }
  }

  /** Describes what happened to the log's files since this process opened them; null if they are unchanged. */
  fault(): string | null {
    return this.#options.store.fault();
  }

  health(): AuditHealth {
    const { durability, payloads, onFailure } = this.#config;
    const reason = this.fault() ?? this.#writer.failing;
    return {
      chain: this.chain,
      ok: reason === null,
      reason,
      durability,
      payloads,
      onFailure,
      records: this.#writer.committed,
      durable: this.durable(),
      checkpoint: this.#checkpoints.last,
      checkpointFault: this.#checkpoints.failing,
      checkpointLag: this.#checkpoints.lag,
      unrecorded: this.#passed.calls + this.#backlog.dropped,
      backlog: this.#backlog.acts,
    };
  }

  /** Returns the newest sequence that checkpoints, sinks, tail and usage may read up to. */
  durable(): number {
    return this.#writer.durable.seq;
  }

  /** Calls `listener` with the newest durable sequence whenever it has grown. */
  onDurable(listener: (seq: number) => void): void {
    this.#listeners.push(listener);
  }

  /** Returns durable records from now on; a reader that is too slow gets a gap marker. */
  follow(user: string, signal: AbortSignal): FeedReader {
    return this.#feed.follow(user, signal);
  }

  /** Applies the options of a reloaded configuration; the chain continues. */
  configure(config: AuditOptions): void {
    this.#config = config;
    this.#drafts.configure(config);
  }

  /** Syncs and signs everything recorded so far, and writes the checkpoint outside the state directory. */
  async checkpoint(): Promise<void> {
    await this.flush();
    await this.#checkpoints.write(true);
  }

  /** Resolves when everything recorded so far is durable or can no longer become durable. */
  flush(): Promise<void> {
    return this.#writer.drain();
  }

  /** Records pending counts, syncs, and writes a last checkpoint and head note; does not close store or lock. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#flood.recordCounted(true);
    this.#backlog.record(true);
    void this.#resume();
    await this.#writer.drain();
    await this.#checkpoints.write(true);
    await this.#writer.drain();
    await this.#checkpoints.write(false);
  }

  #tick(): void {
    this.#writer.tick();
    if (this.#writer.failing === null) this.#flood.recordCounted(false);
    this.#backlog.record();
    const step = this.#clockStep();
    if (step !== null) void this.recordDone({ type: "clock.step", actor: "system", facts: { us: step } });
    void this.#resume();
    this.#checkpoints.tick();
  }

  /** Records that the log accepts records again, which only an attempt can find out, and how many calls are missing. */
  async #resume(): Promise<void> {
    const { calls, told, cause } = this.#passed;
    // If the disk answers again, an outage ends without an attempt, so the reason is kept here.
    this.#outage = this.#writer.failing ?? this.#outage;
    const after = this.#outage ?? (calls > told ? cause : null);
    if (after === null || this.#resuming) return;
    this.#resuming = true;
    const facts = { after, unrecorded: calls - told };
    const recorded = await this.#note({ type: "audit.resumed", actor: "system", facts });
    if (recorded) [this.#passed.told, this.#outage] = [calls, null];
    this.#resuming = false;
  }

  #onDurable(durable: Durable): void {
    this.#checkpoints.append(durable);
    for (const { seq, rec } of durable.rows) this.#feed.publish(seq, rec);
    for (const listener of this.#listeners) listener(this.durable());
  }

  #record(call: Call, stage: Stage, draft: Draft): Promise<void> {
    const { durability } = this.#config;
    return new Promise((resolve, reject) => {
      const waiter = {
        committed: (seq: number) => this.#committed(call, stage, seq),
        done: resolve,
        failed: (error: Unrecorded) => {
          const failure = this.#failureFor(call, stage, error);
          if (failure) reject(failure);
          else resolve();
        },
      };
      this.#writer.add(draft, wantedFor(durability, stage), waiter, this.#open.size <= (stage === "end" ? 1 : 0));
    });
  }

  #committed(call: Call, stage: Stage, seq: number): void {
    if (stage === "end" && call.beginning) this.#open.delete(call.beginning);
    if (stage === "once") call.recordedOnce = true;
    if (stage !== "begin") return;
    call.begun = true;
    call.beginning = this.#open.add(seq);
  }

  /** Returns the failure for a call whose record could not be written, or null under `onFailure: allow`. */
  #failureFor(call: Call, stage: Stage, { message, committed }: Unrecorded): Failure | null {
    if (stage === "end" && !committed) this.#backlog.addEnding(call);
    if (this.#config.onFailure === "deny")
      return unavailable(stage === "end" && neverReachedServer(call) ? "refused" : stage, message);
    if (stage === "begin" || stage === "once") call.begun = true;
    // A committed record is in the log, and an end record joins the backlog, so neither counts as missing.
    if (call.begun && !committed && stage !== "end" && !call.unrecorded) {
      call.unrecorded = true;
      this.#passed.calls += 1;
      this.#passed.cause = message;
    }
    this.#options.log.error(
      "call passed without an audit record: audit.onFailure is allow",
      { call: call.id, cause: message },
      stage,
    );
    return null;
  }

  #note(event: AuditEvent): Promise<boolean> {
    return this.#offer(this.#drafts.event(event));
  }

  /** Resolves to whether the draft was recorded. */
  async #offer(draft: Draft): Promise<boolean> {
    const { type } = draft.fields;
    try {
      await this.#writer.record(draft, "commit");
      return true;
    } catch (error) {
      this.#options.log.warn("audit record not written", { type, cause: String(error) }, type);
      return false;
    }
  }
}

/** Reports whether no server has seen an ended call: it never began, and it does not continue a call that did. */
const neverReachedServer = ({ begun, failure }: Call): boolean => !begun && (failure?.detail.ran ?? "no") === "no";

function unavailable(stage: keyof typeof refusal, internal: string): Failure {
  const ran = stage === "begin" ? "no" : stage === "input" ? "maybe" : null;
  return new Failure("audit-unavailable", refusal[stage], { ...(ran && { ran }), retryAfterMs: 1000, internal });
}
