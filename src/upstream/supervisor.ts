import type { Party } from "../core/call.ts";
import { maxTimerMs, lookEvery } from "../core/clock.ts";
import type { Listing, ServerStatus } from "../core/upstream.ts";
import { CallerInstances } from "./caller-instances.ts";
import { listingOf, unknownText } from "./discovery/inventory.ts";
import { Following } from "./following.ts";
import type { SetHost } from "./host.ts";
import { identityOf } from "./identity.ts";
import { downText } from "./instances/failures.ts";
import { Starter } from "./instances/starter.ts";
import type { ServerOptions } from "./options.ts";
import { OwnInstance } from "./own-instance.ts";
import type { StderrLog } from "./process/stderr-log.ts";
import { Sender } from "./sender.ts";
import { transportOf } from "./transports/index.ts";

/** Minimum and maximum time between checks for idle instances, ms; health checks may be much rarer. */
const idleLook = { least: 1_000, most: 30_000 };

/** Keeps one server running: starts, stops and restarts it, and reports its lists and status. */
export class Supervisor {
  readonly identity: string;
  readonly instances: CallerInstances;
  readonly sender: Sender;
  readonly following: Following;
  readonly #terms: { options: ServerOptions; host: SetHost };
  readonly #starter: Starter;
  readonly #own: OwnInstance;
  /** The regular work while the server is in use. */
  #pulse: readonly Timer[] | null = null;
  #listing: Promise<void> | null = null;

  constructor(options: ServerOptions, host: SetHost) {
    this.identity = identityOf(options);
    this.#terms = { options, host };
    this.#starter = new Starter(this.#terms);
    this.#own = new OwnInstance(this.#terms, this.#starter);
    this.instances = new CallerInstances(this.#terms, this.#starter, this.#own);
    this.sender = new Sender(this.#terms, this.#starter, this.#own, this.instances);
    this.following = new Following(this.#terms, this.instances);
  }

  get id(): string {
    return this.#terms.options.id;
  }

  // ── lifecycle ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether the server starts with the gateway, which becomes ready only afterwards. */
  get boots(): boolean {
    const { enabled, start } = this.#terms.options;
    return enabled && start === "boot";
  }

  /** Starts the server as its options say. If it has to be listed, resolves once that has succeeded or failed. */
  async activate(): Promise<void> {
    if (!this.#terms.options.enabled) return;
    this.#pulse ??= this.#startPulse();
    // Also waits for a server that was taken over while it was starting.
    const begins = this.#own.state === "idle" || this.#own.state === "starting";
    if (!begins) return;
    if (this.boots) await this.#own.connect();
    else if (!this.#own.listed) await (this.#listing ??= this.#listOnce().finally(() => (this.#listing = null)));
  }

  /**
   * Lists an on-demand server, since nobody can call a tool that no list shows: starts it, a program in its turn, then
   * lets it rest until a call. A call of a predecessor's tool starts it at once; if that fails, backoff applies.
   */
  async #listOnce(): Promise<void> {
    const { options, host } = this.#terms;
    const before = host.clock.mono();
    this.#own.set("starting", this.#own.reason);
    const connect = async (): Promise<void> => {
      if (this.#own.state === "starting") await this.#own.connect();
    };
    await ("url" in options ? connect() : host.starts.add(connect));
    // A reload may have changed it to start at boot in the meantime.
    if (!this.boots && this.#own.state === "ready" && this.instances.unusedSince(before)) await this.#own.rest();
  }

  /** Shows what the previous server of this id offered, until this one has been listed. */
  inherit(old: Supervisor): void {
    this.#own.inherit(old.#own);
  }

  /** Joins another set; options that do not affect the processes apply at once. */
  adopt(options: ServerOptions, host: SetHost): void {
    const { healthCheck, idleStop, refresh } = this.#terms.options;
    Object.assign(this.#terms, { options, host });
    if (options.refresh !== refresh) this.#own.reschedule();
    if (this.#pulse && (options.healthCheck !== healthCheck || options.idleStop !== idleStop)) {
      this.#stopPulse();
      this.#pulse = this.#startPulse();
    }
  }

  /** Waits for running calls, at most `ms`, then stops for good. */
  async drain(ms: number): Promise<void> {
    this.#stopPulse();
    this.#own.retire();
    this.instances.subscriptions.close();
    await this.instances.pool.drained(ms);
    await this.#stop("stopping");
  }

  async #stop(state: "stopping" | "idle"): Promise<void> {
    this.#own.set(state, null);
    this.#stopPulse();
    // Done first, so that a handshake that is cut off below does not count as a crash.
    const stopped = [this.#own.stop(), this.instances.pool.close()];
    // Closing a link also ends its handshake, so there is no waiting for anything that is still starting.
    await this.#starter.close();
    await Promise.all(stopped);
  }

  /** Stops everything and starts again, forgetting earlier failures. Throws if the server is disabled. */
  async restart(): Promise<void> {
    if (this.#own.state === "disabled") throw new Error(`server ${this.id} is disabled; enable it first`);
    await this.#stop("idle");
    // The server was removed in the meantime.
    if (this.#own.state === "stopping") return;
    this.#own.forgive();
    this.#pulse ??= this.#startPulse();
    await this.#own.connect();
  }

  #startPulse(): Timer[] {
    const { healthCheck, idleStop } = this.#terms.options;
    const every = Math.min(healthCheck, maxTimerMs);
    const idleEvery = Math.min(every, Math.max(idleStop, idleLook.least), idleLook.most);
    return [
      lookEvery(idleEvery, () => void this.#stopIdle()),
      lookEvery(every, () => {
        this.instances.retry();
        void this.#own.beat();
      }),
    ];
  }

  #stopPulse(): void {
    for (const timer of this.#pulse ?? []) clearInterval(timer);
    this.#pulse = null;
  }

  async #stopIdle(): Promise<void> {
    const { idleStop, start } = this.#terms.options;
    this.instances.pool.sweep(idleStop);
    const unused = this.instances.unusedSince(this.#terms.host.clock.mono() - idleStop * 1000);
    if (start === "on-demand" && unused && this.#own.instance) await this.#own.rest();
  }

  // ── lists and status ────────────────────────────────────────────────────────────────────────────────────────

  /** Returns the lists that the server offers; null if it is disabled. */
  listing(): Listing | null {
    const { state, reason, inventory } = this.#own;
    if (state === "disabled") return null;
    const ready = state === "ready" || state === "idle";
    return listingOf(this.id, inventory, ready ? null : (reason ?? `it is ${state}`));
  }

  /** Returns the running lookups of tools that only some callers are shown, this one included. */
  learnTools(party: Party, mayUse: (server: string) => boolean): Promise<unknown>[] {
    const conditional = this.#own.listConditional(party.capabilities, () => mayUse(this.id));
    const asked = this.instances.learnTools(party);
    return [conditional, asked && mayUse(this.id) ? asked : null].filter((each) => each !== null);
  }

  get log(): StderrLog {
    return this.#starter.log;
  }

  /** Returns the server's status for operators: the gateway's own instance and those of the callers together. */
  status(): ServerStatus {
    const { options, host } = this.#terms;
    const { state, reason, inventory, instance, restarts, streams } = this.#own;
    const { pool, subscriptions } = this.instances;
    const { down } = pool;
    const ownPid = instance?.link.pid ?? null;
    const hubs = [...pool].reduce((sum, { instance: one }) => sum + (one?.link.streams ?? 0), 0);
    return {
      id: options.id,
      name: options.name ?? options.id,
      transport: transportOf(options),
      state,
      era: inventory.era,
      revision: instance?.peer.revision ?? null,
      instances: pool.size,
      pids: [...(ownPid === null ? [] : [ownPid]), ...pool.pids],
      ownPid,
      tools: inventory.tools.length,
      restarts: restarts + pool.crashes,
      inFlight: pool.inFlight,
      reason: reason ?? downText(down, host.clock.now() / 1000) ?? unknownText(inventory),
      down,
      listedAt: inventory.listedAt === null ? null : Math.floor(inventory.listedAt / 1000),
      sandbox: "none",
      dropped: this.#starter.dropped,
      streams: streams + hubs + subscriptions.streams + this.following.streams,
      subscriptions: subscriptions.size,
    };
  }
}
