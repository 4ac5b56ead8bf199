import { isDeepStrictEqual } from "node:util";
import type { ClientCapabilities, Era } from "../core/inbound.ts";
import { changedMethod, type ListName, listNames, lists } from "../core/lists.ts";
import { Turn } from "../core/turns.ts";
import type { ServerState } from "../core/upstream.ts";
import { type Breaker, createBreaker } from "./breaker.ts";
import { ConditionalTools } from "./discovery/conditional-tools.ts";
import { differs, type Inventory, listenForChanges, offered, recall, readInventory } from "./discovery/inventory.ts";
import { Relisting } from "./discovery/relisting.ts";
import { reasonOf } from "./faults.ts";
import type { Terms } from "./host.ts";
import type { Starter } from "./instances/starter.ts";
import { checkHealth } from "./link/handshake.ts";
import type { Greeting, Instance } from "./link/link.ts";

/** The gateway's own instance after the handshake. */
type Running = Instance & {
  peer: Greeting;
  readonly conditional: ConditionalTools;
  /** Ends the stream on which a modern server announces changes; null if it announces none. */
  listen: AbortController | null;
};

/**
 * The gateway's own instance of a server, which declares no capabilities. It shows what the server offers and whether
 * it is healthy, and so determines its state. One start attempt runs at a time; after a failure or the end of the
 * instance, the next follows with a delay. One thing at a time is done with the instance: reading lists or a health
 * check.
 */
export class OwnInstance {
  readonly #terms: Terms;
  readonly #starter: Starter;
  readonly #breaker: Breaker;
  readonly #relisting: Relisting;
  #state: ServerState = "idle";
  #reason: string | null = null;
  /** Why the server is not available, as last logged; null while it is available. */
  #outage: { readonly reason: string; readonly open: boolean } | null = null;
  #running: Running | null = null;
  /** Resolves when the previous process has ended; the next one is not started before. */
  #predecessor: Promise<void> | null = null;
  /** The start attempt that is running. */
  #attempt: Promise<void> | null = null;
  #retry: Timer | undefined;
  /** The work that is running on the instance. */
  #work: Promise<void> | null = null;
  /** The pending reading of all lists, until it begins. */
  #refresh: Promise<void> | null = null;
  inventory: Inventory;
  restarts = 0;
  /** Whether the server's tools are known, from this process or an earlier one. */
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

  get instance(): Instance | null {
    return this.#running;
  }

  /** Finds out which eras the server speaks, as far as callers of this era need to know; null if that is known. */
  learn(era: Era): Promise<void> | null {
    const unmet = !this.#starter.known && this.#running === null && this.#retry === undefined;
    if (unmet) return this.connect().then(() => this.#learnLegacy(era) ?? undefined);
    return this.#learnLegacy(era);
  }

  #learnLegacy(era: Era): Promise<void> | null {
    return era === "modern" || !this.#running ? null : this.#starter.learnLegacy(this.#running.link.host);
  }

  /**
   * Lists the tools for clients with these capabilities, if the caller `mayUse` the server. Null if they are known or
   * cannot be listed now: a server that is not running is not started for this.
   */
  listConditional(capabilities: ClientCapabilities, mayUse: () => boolean): Promise<void> | null {
    return this.#running?.conditional.learn(capabilities, mayUse) ?? null;
  }

  /** The number of streams held open to receive notifications. */
  get streams(): number {
    const { link, listen } = this.#running ?? {};
    return (link?.streams ?? 0) + (listen?.signal.aborted === false ? 1 : 0);
  }

  /** Milliseconds until the server may be started again. */
  wait(): number {
    return this.#breaker.wait();
  }

  /** Shows what the previous server of this id offered, until this one has been listed. */
  inherit(old: OwnInstance): void {
    if (listNames.every((list) => this.inventory[list].length === 0)) {
      this.inventory = { ...old.inventory, listedAt: null };
    }
  }

  /** Applies a changed refresh interval. */
  reschedule(): void {
    if (this.#running) this.#relisting.begin();
  }

  /** Stops looking for changes, since this server's lists are no longer shown to anybody. */
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

  /** Ends the instance and clears all timers; links in their handshake are ended by the `Starter`. */
  async stop(): Promise<void> {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#relisting.stop();
    await Promise.all([this.#leave(), this.#attempt]);
  }

  /** Ends an on-demand server's instance until its next call; without known tools, no call would come. */
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

  /** Makes one attempt to start an instance and read its lists; never rejects. */
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
      // Done first, or a change while the lists are read would be missed.
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
    // Repeating an unchanged outage at every attempt would fill the log while the server is down.
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
    const taken = await readInventory({ instance: running, listed: this.listed, turn, ...this.#terms }, before, which);
    // Requests that were unanswered when the instance was stopped say nothing about the server.
    if (running.link.over?.expected) return;
    turn.begin();
    this.listed ||= !taken.failed.includes("tools");
    // Conditional tools may have been learned in the meantime.
    this.inventory = { ...taken, conditional: this.inventory.conditional };
    if (differs(this.inventory, before)) this.#terms.host.changed();
    turn.over();
    this.#relisting.took(turn.total);
    if (this.inventory.tools !== before.tools) running.conditional.forget();
  }

  /** Handles a notification from any instance; returns false if it is not about the lists. */
  heard(method: string): boolean {
    const which = listNames.filter((list) => changedMethod(lists[list].capability) === method);
    this.#relisting.changed(which);
    return which.length > 0;
  }

  #relist(which: readonly ListName[]): Promise<void> {
    return this.#exclusively((running) => this.#list(running, which));
  }

  /**
   * Reads all lists again after the work that is running; callers that ask before the reading begins share it. A server
   * that can no longer list is treated as crashed.
   */
  refresh(): Promise<void> {
    return (this.#refresh ??= this.#refreshNext());
  }

  async #refreshNext(): Promise<void> {
    do {
      await this.#work;
    } while (this.#work);
    // A caller that asks from here on may know of a later change.
    this.#refresh = null;
    await this.#relist(listNames);
  }

  /** Does a piece of work on the instance unless there is none or it is busy; a failure ends the instance. */
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

  /** Anything may have changed while nobody was listening. */
  #missed({ peer }: Running): void {
    this.#relisting.changed(offered(peer));
  }

  /** Handles a new greeting: another version of the server may be running at the same address. */
  #greeted(greeting: Greeting): void {
    const running = this.#running;
    if (!running) return;
    running.peer = greeting;
    running.conditional.forget();
    this.#missed(running);
    this.#listenTo(running);
  }

  // ── health ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Does the regular health check: reads the lists that could not be read before, or else asks for a sign of life. */
  async beat(): Promise<void> {
    if (this.inventory.failed.length > 0) await this.refresh();
    else await this.check();
  }

  /** Checks whether the gateway's own instance still answers; ends the instance if it does not. */
  check(): Promise<void> {
    return this.#exclusively(async (running) => {
      const greeting = await checkHealth(running, this.#terms.options.healthCheck);
      if (!greeting) {
        // An older server, which knows no request of this era, may have taken its place.
        if (running.peer.era === "modern" && running.peer.capabilities) this.#missed(running);
        return;
      }
      // Changed instructions wait for the next listing: they may contain the time, and so differ at each check.
      if (isDeepStrictEqual(greeting.capabilities, running.peer.capabilities)) running.peer = greeting;
      else this.#greeted(greeting);
    });
  }
}
