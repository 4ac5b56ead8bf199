import { isDeepStrictEqual } from "node:util";
import type { ClientCapabilities, Era } from "../core/inbound.ts";
import { changedMethod, type ListName, listNames, lists } from "../core/lists.ts";
import { Turn } from "../core/turns.ts";
import type { ServerState } from "../core/upstream.ts";
import { type Breaker, createBreaker } from "./breaker.ts";
import { ConditionalTools } from "./discovery/conditional-tools.ts";
import { differs, type Inventory, listenForChanges, offered, recall, takeInventory } from "./discovery/inventory.ts";
import { Relisting } from "./discovery/relisting.ts";
import { reasonOf } from "./faults.ts";
import type { Terms } from "./host.ts";
import type { Starter } from "./instances/starter.ts";
import { checkHealth } from "./link/handshake.ts";
import type { Greeting, Instance } from "./link/link.ts";

/** The instance that only the gateway uses, after the handshake. */
type Running = Instance & {
  peer: Greeting;
  readonly conditional: ConditionalTools;
  /** Ends the stream on which a modern server announces changes; null where it announces none. */
  listen: AbortController | null;
};

/**
 * The instance of one server that serves the gateway itself and declares no capabilities: by it is known what the
 * server offers, its health, and so its state. One attempt to start the instance is made at a time; one that fails, and
 * an instance that ends, is followed by the next after a while. On the instance one thing is done at a time too: lists
 * are read, or it is checked.
 */
export class OwnInstance {
  readonly #terms: Terms;
  readonly #starter: Starter;
  readonly #breaker: Breaker;
  readonly #relisting: Relisting;
  #state: ServerState = "idle";
  #reason: string | null = null;
  /** Why the server is not available, as the log was told last; null while it is. */
  #outage: { readonly reason: string; readonly open: boolean } | null = null;
  #running: Running | null = null;
  /** The end of the process before, beside which none is started. */
  #predecessor: Promise<void> | null = null;
  /** The attempt to start an instance that is made now. */
  #attempt: Promise<void> | null = null;
  /** Begins the next attempt. */
  #retry: Timer | undefined;
  /** What is done on the instance now. */
  #work: Promise<void> | null = null;
  /** The next reading of all lists, until it begins. */
  #refresh: Promise<void> | null = null;
  inventory: Inventory;
  restarts = 0;
  /** Whether it is known which tools the server has, from this process or an earlier one. */
  listed: boolean;

  constructor(terms: Terms, starter: Starter) {
    const { options, host } = terms;
    this.#terms = terms;
    this.#starter = starter;
    this.inventory = recall(options, host);
    this.listed = this.inventory.era !== null;
    this.#breaker = createBreaker(host.tuning.breaker, host.clock.mono);
    const busy = (): boolean => this.#work !== null || this.#state === "starting";
    this.#relisting = new Relisting(terms, busy, (which) => void this.#relist(which));
    if (!options.enabled) this.#state = "disabled";
  }

  get state(): ServerState {
    return this.#state;
  }

  /** Why the server is not ready; null when it is. */
  get reason(): string | null {
    return this.#reason;
  }

  /** The gateway's own instance, null while there is none. */
  get instance(): Instance | null {
    return this.#running;
  }

  /** Finds out which eras the server speaks, as far as callers of this era need it; null when that is known. */
  learn(era: Era): Promise<void> | null {
    const unmet = !this.#starter.known && this.#running === null && this.#retry === undefined;
    if (unmet) return this.connect().then(() => this.#learnLegacy(era) ?? undefined);
    return this.#learnLegacy(era);
  }

  #learnLegacy(era: Era): Promise<void> | null {
    return era === "modern" || !this.#running ? null : this.#starter.learnLegacy(this.#running.link.host);
  }

  /**
   * Lists the tools that the server offers only to clients of these capabilities, if the caller `mayUse` the server.
   * Null if they are known, or cannot be listed now: a server that does not run is not started for this.
   */
  listConditional(capabilities: ClientCapabilities, mayUse: () => boolean): Promise<void> | null {
    return this.#running?.conditional.learn(capabilities, mayUse) ?? null;
  }

  /** Streams that are held open to hear of changes. */
  get streams(): number {
    const { link, listen } = this.#running ?? {};
    return (link?.streams ?? 0) + (listen?.signal.aborted === false ? 1 : 0);
  }

  /** Milliseconds until the server may be started again. */
  wait(): number {
    return this.#breaker.wait();
  }

  /** Shows what the server offered that had this id before, until this one has been listed itself. */
  inherit(old: OwnInstance): void {
    if (listNames.every((list) => this.inventory[list].length === 0)) {
      this.inventory = { ...old.inventory, listedAt: null };
    }
  }

  /** Reads the lists at another interval from here on. */
  reschedule(): void {
    if (this.#running) this.#relisting.begin();
  }

  /** Looks for no changes any more: nobody is shown what the server offers. */
  retire(): void {
    this.#relisting.end();
  }

  set(state: ServerState, reason: string | null): void {
    if (state === this.#state && reason === this.#reason) return;
    this.#state = state;
    this.#reason = reason;
    this.#terms.host.changed();
  }

  /** Forgets earlier failures. */
  forgive(): void {
    this.#breaker.reset();
    this.restarts++;
  }

  /** Ends the instance and gives up all timers; links in their handshake are ended by the `Starter`. */
  async stop(): Promise<void> {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#relisting.stop();
    await Promise.all([this.#leave(), this.#attempt]);
  }

  /** Ends an on-demand server's instance, until its next call: not before its tools are known, or none would come. */
  async rest(): Promise<void> {
    if (!this.listed) return;
    const left = this.#leave();
    this.set("idle", null);
    await left;
  }

  async #leave(): Promise<void> {
    this.#relisting.pause();
    this.#running?.listen?.abort();
    const link = this.#running?.link;
    this.#running = null;
    if (!link) return;
    const ended = link.close();
    if (link.pid !== null) this.#predecessor = ended;
    await ended;
  }

  // ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────

  /** One attempt to start an instance and read its lists; never rejects. */
  connect(): Promise<void> {
    const over = this.#state === "disabled" || this.#state === "stopping" || this.#terms.host.retired();
    if (this.#running || over) return Promise.resolve();
    return (this.#attempt ??= this.#tryConnect().finally(() => (this.#attempt = null)));
  }

  async #tryConnect(): Promise<void> {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    // The reason of the last failure stays until this attempt has succeeded or failed.
    this.set("starting", this.#reason);
    await this.#predecessor;
    if (this.#state !== "starting") return;
    let running: Running | null = null;
    try {
      const events = {
        notified: (method: string) => this.heard(method),
        renewed: (greeting: Greeting) => this.#greeted(greeting),
      };
      const met = await this.#starter.meet(this.#starter.linkHost(events));
      running = { ...met, conditional: this.#conditional(met), listen: null };
      // First, or a change while the lists are read would be told to nobody.
      this.#listenTo(running);
      if (this.#state === "starting") await this.#list(running, listNames);
      if (this.#state === "starting") this.#ready(running);
      else await running.link.close();
    } catch (error) {
      await running?.link.close();
      this.#failed(reasonOf(error));
    }
  }

  #conditional(instance: Instance): ConditionalTools {
    return new ConditionalTools({
      terms: this.#terms,
      instance,
      starter: this.#starter,
      commonTools: () => this.inventory.tools,
      learnt: (tools) => {
        if (tools.length + this.inventory.conditional.length === 0) return;
        this.inventory = { ...this.inventory, conditional: tools };
        this.#terms.host.changed();
      },
    });
  }

  #ready(running: Running): void {
    this.#running = running;
    this.set("ready", null);
    if (this.#outage) this.#terms.host.log.info("a server is available again", { server: this.#terms.options.id });
    this.#outage = null;
    this.#relisting.begin();
    void running.link.ended.then(({ expected, reason }) => {
      if (this.#running !== running || expected) return;
      const { options, host } = this.#terms;
      void this.#leave();
      host.record({ type: "server.crashed", actor: "system", facts: { server: options.id, reason } });
      this.#failed(reason);
    });
  }

  #failed(reason: string): void {
    if (this.#state !== "starting" && this.#state !== "ready") return;
    const { options, host } = this.#terms;
    const facts = { server: options.id, reason };
    const { wait, open, opened } = this.#breaker.failed();
    // What is as it was after the attempt before would fill the log, for as long as the server is not there.
    if (open !== this.#outage?.open || reason !== this.#outage.reason)
      host.log.warn("a server is not available", { ...facts, retryMs: Math.round(wait) });
    if (opened) host.record({ type: "server.circuit-open", actor: "system", facts });
    this.#outage = { reason, open };
    this.set(open ? "open-circuit" : "backoff", reason);
    this.#retry = setTimeout(() => {
      this.restarts++;
      void this.connect();
    }, wait).unref();
  }

  // ── lists ───────────────────────────────────────────────────────────────────────────────────────────────────

  async #list(running: Running, which: readonly ListName[]): Promise<void> {
    const before = this.inventory;
    const turn = new Turn();
    const taken = await takeInventory({ instance: running, listed: this.listed, turn, ...this.#terms }, before, which);
    // What it had yet to answer when it was stopped says nothing of the server.
    if (running.link.over?.expected) return;
    turn.begin();
    this.listed ||= !taken.failed.includes("tools");
    // Conditional tools may have been learnt meanwhile.
    this.inventory = { ...taken, conditional: this.inventory.conditional };
    if (differs(this.inventory, before)) this.#terms.host.changed();
    turn.over();
    this.#relisting.took(turn.total);
    if (this.inventory.tools !== before.tools) running.conditional.forget();
  }

  /** Takes a notification of any instance; false when it is not about the lists. */
  heard(method: string): boolean {
    const which = listNames.filter((list) => changedMethod(lists[list].capability) === method);
    this.#relisting.changed(which);
    return which.length > 0;
  }

  #relist(which: readonly ListName[]): Promise<void> {
    return this.#exclusively((running) => this.#list(running, which));
  }

  /**
   * Reads all lists anew, after what is done with the instance now; those who ask meanwhile share the reading. A server
   * that cannot list any more is treated as one that crashed.
   */
  refresh(): Promise<void> {
    return (this.#refresh ??= this.#refreshNext());
  }

  async #refreshNext(): Promise<void> {
    do {
      await this.#work;
    } while (this.#work);
    // Who asks from here on may know of a later change.
    this.#refresh = null;
    await this.#relist(listNames);
  }

  /**
   * Does a piece of work on the instance, unless there is none or it is busy with another; a failure ends the instance.
   */
  async #exclusively(work: (running: Running) => Promise<void>): Promise<void> {
    const running = this.#running;
    if (!running || this.#work) return;
    this.#work = work(running).catch((error: unknown) => running.link.fail(reasonOf(error)));
    await this.#work;
    this.#work = null;
  }

  #listenTo(running: Running): void {
    running.listen?.abort();
    const heard = (method: string): void => void this.heard(method);
    running.listen = listenForChanges(running, { heard, missed: () => this.#missed(running) });
  }

  /** While nobody listened anything may have changed. */
  #missed({ peer }: Running): void {
    this.#relisting.changed(offered(peer));
  }

  /** The server has greeted anew: another version of it may run at the same address. */
  #greeted(greeting: Greeting): void {
    const running = this.#running;
    if (!running) return;
    running.peer = greeting;
    running.conditional.forget();
    this.#missed(running);
    this.#listenTo(running);
  }

  // ── health ──────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The regular health check: reads the lists that could not be read yet; if there are none, asks for a sign of life.
   */
  async beat(): Promise<void> {
    if (this.inventory.failed.length > 0) await this.refresh();
    else await this.check();
  }

  /** Checks by the gateway's own instance whether the server still answers; ends the instance where it does not. */
  check(): Promise<void> {
    return this.#exclusively(async (running) => {
      const greeting = await checkHealth(running, this.#terms.options.healthCheck);
      if (!greeting) {
        // An older server may have taken its place, which knows neither this request nor any other of this era.
        if (running.peer.era === "modern" && running.peer.capabilities) this.#missed(running);
        return;
      }
      // Other instructions wait for the next listing: they may hold the time, and so be others at each check.
      if (isDeepStrictEqual(greeting.capabilities, running.peer.capabilities)) running.peer = greeting;
      else this.#greeted(greeting);
    });
  }
}
