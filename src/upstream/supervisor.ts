import type { Call, Reply, Route } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { Errand, Listing, ServerState, ServerStatus } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { type Breaker, createBreaker } from "./breaker.ts";
import { checkHealth } from "./discovery.ts";
import { faults, reasonOf } from "./faults.ts";
import { askOf, replyOf } from "./forward.ts";
import type { SetHost } from "./host.ts";
import { identityOf } from "./identity.ts";
import { type Inventory, listingOf, recall, takeInventory } from "./inventory.ts";
import type { Peer } from "./link.ts";
import type { ServerOptions } from "./options.ts";
import { type Instance, Pool, type Slot } from "./pool.ts";
import { Starter } from "./starter.ts";
import { transportOf } from "./transport.ts";

/** Longest wait for an answer to a health check. */
const mostHealthMs = 10_000;
/** How a modern server says that the headers do not mirror the call: its tools have changed (2026-07-28, HTTP). */
const headerMismatch = -32020;

/** Keeps one server running: its discovery instance, the callers' instances, its list, its health. */
export class Supervisor {
  readonly identity: string;
  #options: ServerOptions;
  #host: SetHost;
  readonly #starter: Starter;
  readonly #pool: Pool;
  readonly #breaker: Breaker;
  #state: ServerState = "idle";
  #reason: string | null = null;
  #discovery: Instance | null = null;
  #attempt: Promise<void> | null = null;
  #inventory: Inventory;
  #restarts = 0;
  #dropped = 0;
  #usedAt: number;
  #retry: Timer | null = null;
  #relist: Timer | null = null;
  #pulse: Timer | null = null;
  #refreshAt = 0;
  #busy = false;

  constructor(options: ServerOptions, host: SetHost) {
    this.identity = identityOf(options);
    this.#options = options;
    this.#host = host;
    this.#inventory = recall(options, host);
    this.#starter = new Starter(options, host, {
      dropped: () => this.#dropped++,
      notified: (method) => this.#notified(method),
    });
    this.#breaker = createBreaker(host.tuning.breaker, host.clock.mono);
    this.#usedAt = host.clock.mono();
    this.#pool = new Pool({
      server: options.id,
      clock: host.clock,
      breaker: host.tuning.breaker,
      start: () => this.#starter.start(this.#sharedPeer),
      crashed: (reason) => this.#crashed(reason),
    });
    if (!options.enabled) this.#state = "disabled";
  }

  get id(): string {
    return this.#options.id;
  }

  get #isHttp(): boolean {
    return transportOf(this.#options) === "http";
  }

  // ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Begins; resolves once a server that starts at boot was listed once or failed. */
  async activate(): Promise<void> {
    if (this.#state === "disabled") return;
    this.#pulse ??= this.#startPulse();
    if (this.#options.start === "boot" && this.#state === "idle") await this.#connect();
  }

  /** Shows what a differently configured server of the same id offered, until this one has been listed itself. */
  inherit(old: Supervisor): void {
    if (this.#inventory.tools.length === 0) this.#inventory = { ...old.#inventory, stale: true };
  }

  /** Takes over from an earlier set; what does not touch the processes takes effect at once. */
  adopt(options: ServerOptions, host: SetHost): void {
    const beat = options.healthCheck !== this.#options.healthCheck;
    this.#options = options;
    this.#host = host;
    this.#starter.adopt(options, host);
    if (this.#pulse && beat) {
      clearInterval(this.#pulse);
      this.#pulse = this.#startPulse();
    }
  }

  /** Waits for running calls, at most `ms`, then stops. */
  async drain(ms: number): Promise<void> {
    await this.#pool.drained(ms);
    await this.stop();
  }

  async stop(state: "stopping" | "disabled" | "idle" = "stopping", reason: string | null = null): Promise<void> {
    this.#set(state, reason);
    this.#clearTimers();
    this.#discovery = null;
    // Closing a link ends its handshake too, so nothing that is still starting is waited for.
    await this.#starter.close();
    await Promise.all([this.#pool.close(), this.#attempt]);
  }

  /** Stops everything and starts anew, forgetting earlier failures. */
  async restart(): Promise<void> {
    await this.stop("idle");
    this.#breaker.reset();
    this.#restarts++;
    await this.enable();
  }

  async enable(): Promise<void> {
    if (this.#state === "disabled") this.#set("idle", null);
    this.#pulse ??= this.#startPulse();
    await this.#connect();
  }

  disable(): Promise<void> {
    return this.stop("disabled", "disabled by an operator until the next start");
  }

  #clearTimers(): void {
    for (const timer of [this.#retry, this.#relist, this.#pulse]) if (timer) clearTimeout(timer);
    this.#retry = this.#relist = this.#pulse = null;
  }

  #set(state: ServerState, reason: string | null): void {
    if (state === this.#state && reason === this.#reason) return;
    this.#state = state;
    this.#reason = reason;
    this.#host.changed();
  }

  // ── discovery ───────────────────────────────────────────────────────────────────────────────────────────────

  /** One attempt to have a discovery instance and a list; never rejects. */
  #connect(): Promise<void> {
    if (this.#discovery || this.#state === "disabled") return Promise.resolve();
    return (this.#attempt ??= this.#tryConnect().finally(() => (this.#attempt = null)));
  }

  async #tryConnect(): Promise<void> {
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
    this.#set("starting", null);
    try {
      const instance = await this.#starter.start(null, true);
      if (this.#state !== "starting") return await instance.link.close();
      try {
        await this.#list(instance);
      } catch (error) {
        await instance.link.close();
        throw error;
      }
      this.#ready(instance);
    } catch (error) {
      this.#failed(reasonOf(error));
    }
  }

  #ready(instance: Instance): void {
    if (this.#state !== "starting") return void instance.link.close();
    this.#discovery = instance;
    this.#set("ready", null);
    void instance.link.ended.then((end) => {
      if (this.#discovery !== instance || end.asked) return;
      this.#discovery = null;
      this.#crashed(end.reason);
      this.#failed(end.reason);
    });
  }

  #failed(reason: string): void {
    if (this.#state !== "starting" && this.#state !== "ready") return;
    const { wait, open } = this.#breaker.failed();
    this.#inventory = { ...this.#inventory, stale: true };
    this.#host.log.warn("a server is not available", { server: this.id, reason, retryMs: Math.round(wait) });
    if (open) this.#host.note({ type: "server.circuit-open", actor: "system", facts: { server: this.id, reason } });
    this.#set(open ? "open-circuit" : "backoff", reason);
    this.#retry = setTimeout(() => {
      this.#restarts++;
      void this.#connect();
    }, wait);
  }

  #crashed(reason: string): void {
    this.#host.note({ type: "server.crashed", actor: "system", facts: { server: this.id, reason } });
    this.#host.changed();
  }

  async #list(instance: Instance): Promise<void> {
    const before = this.#inventory;
    const host = this.#starter.linkHost(true);
    this.#inventory = await takeInventory(instance, host, this.#options, this.#host, before);
    this.#refreshAt = this.#host.clock.mono() + this.#options.refresh * 1000;
    if (this.#inventory.tools !== before.tools || before.stale) this.#host.changed();
  }

  #notified(method: string): void {
    if (method !== "notifications/tools/list_changed") return void this.#dropped++;
    this.#relist ??= setTimeout(() => {
      this.#relist = null;
      if (this.#busy) this.#notified(method);
      else void this.#refresh();
    }, this.#host.tuning.debounce);
  }

  /** Lists anew; a server that cannot list any more is treated as one that crashed. */
  #refresh(): Promise<void> {
    return this.#probe((instance) => this.#list(instance));
  }

  async #probe(work: (instance: Instance) => Promise<void>): Promise<void> {
    const instance = this.#discovery;
    if (!instance || this.#busy) return;
    this.#busy = true;
    try {
      await work(instance);
    } catch (error) {
      instance.link.fail(reasonOf(error));
    } finally {
      this.#busy = false;
    }
  }

  // ── health ──────────────────────────────────────────────────────────────────────────────────────────────────

  #startPulse(): Timer {
    const timer = setInterval(() => void this.#beat(), this.#options.healthCheck);
    timer.unref();
    return timer;
  }

  async #beat(): Promise<void> {
    const { idleStop, start } = this.#options;
    this.#pool.sweep(idleStop);
    const now = this.#host.clock.mono();
    const unused = this.#pool.size === 0 && now - this.#usedAt > idleStop * 1000;
    if (start === "on-demand" && unused && this.#discovery) return this.#rest();
    if (now >= this.#refreshAt) await this.#refresh();
    else await this.#probe((instance) => this.#check(instance));
  }

  /** Stops the discovery instance of a server that is wanted on demand only. */
  async #rest(): Promise<void> {
    const discovery = this.#discovery;
    this.#discovery = null;
    this.#set("idle", null);
    await discovery?.link.close();
  }

  async #check({ link, peer }: Instance): Promise<void> {
    await checkHealth(link, this.#starter.linkHost(), peer, Math.min(this.#options.healthCheck, mostHealthMs));
  }

  /** A caller's instance that missed a time-out and does not answer a ping either hangs: it is ended. */
  async #suspect(slot: Slot): Promise<void> {
    const { instance, suspected } = slot;
    if (!instance || instance.link.pid === null || suspected) return;
    slot.suspected = true;
    try {
      await this.#check(instance);
    } catch (error) {
      instance.link.fail(`it does not answer any more (${reasonOf(error)})`);
    }
    slot.suspected = false;
  }

  // ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────

  async send(call: Call, who: Principal, route: Route, errand: Errand): Promise<Reply> {
    const { timeout } = this.#options;
    const deadline = performance.now() + timeout;
    this.#usedAt = this.#host.clock.mono();
    if (this.#needsDiscovery) await this.#within(call, timeout, this.#connect());
    const slot = this.#slot(who);
    this.#pool.enter(slot);
    try {
      const instance = slot.instance ?? (await this.#within(call, deadline - performance.now(), slot.starting));
      const left = Math.max(1, Math.ceil(deadline - performance.now()));
      const answer = await instance.link.ask(
        askOf(call, route, errand, { peer: instance.peer, client: this.#host.client, timeout: left }),
      );
      if (answer.kind === "error" && answer.code === headerMismatch) void this.#refresh();
      return replyOf(answer, instance.peer, this.id);
    } catch (error) {
      if (error instanceof Failure && error.code === "timeout") void this.#suspect(slot);
      if (error instanceof Failure && error.code === "upstream-down") void this.#probe((one) => this.#check(one));
      throw error;
    } finally {
      this.#pool.release(slot);
    }
  }

  /** Whether callers share an instance depends on the era of an HTTP server, so that has to be known first. */
  get #needsDiscovery(): boolean {
    return this.#isHttp && this.#discovery === null && this.#retry === null;
  }

  #slot(who: Principal): Slot {
    const shared = this.#shared;
    const key = shared ? "shared" : who.id;
    const found = this.#pool.find(key);
    if (found) return found;
    if (this.#state === "idle") void this.#connect();
    else if (this.#state !== "ready" && this.#state !== "starting") throw this.#unavailable();
    return this.#pool.open(key, this.#options.maxInstances, shared ? null : who.revoked);
  }

  /** What a modern HTTP server agreed on holds for every request, so its instances need no handshake. */
  get #sharedPeer(): Peer | null {
    const peer = this.#discovery?.peer;
    return this.#isHttp && peer?.era === "modern" ? peer : null;
  }

  get #shared(): boolean {
    const transport = transportOf(this.#options);
    const usual = transport === "builtin" || this.#sharedPeer !== null;
    return (this.#options.isolation ?? (usual ? "shared" : "per-principal")) === "shared";
  }

  #unavailable(): Failure {
    const wait = this.#breaker.wait();
    return faults.down(this.id, this.#reason ?? `it is ${this.#state}`, wait > 0 ? wait : undefined);
  }

  /** Waits for a start, as long as the call may take and its caller wants it. */
  async #within<T>(call: Call, ms: number, start: Promise<T>): Promise<T> {
    if (call.controller.signal.aborted) throw faults.cancelled();
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(faults.down(this.id, "it is still starting")), ms);
    const abort = (): void => reject(faults.cancelled());
    call.controller.signal.addEventListener("abort", abort, { once: true });
    try {
      return await Promise.race([start, promise]);
    } finally {
      clearTimeout(timer);
      call.controller.signal.removeEventListener("abort", abort);
    }
  }

  // ── views ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** What is offered; null while disabled. */
  listing(): Listing | null {
    if (this.#state === "disabled") return null;
    return listingOf(this.id, this.#inventory);
  }

  logs(lines: number): string[] {
    return this.#starter.log.last(lines);
  }

  status(): ServerStatus {
    const { id, name } = this.#options;
    const discoveryPid = this.#discovery?.link.pid ?? null;
    return {
      id,
      name: name ?? id,
      transport: transportOf(this.#options),
      state: this.#state,
      era: this.#inventory.era,
      revision: this.#discovery?.peer.revision ?? null,
      instances: this.#pool.size,
      pids: [...(discoveryPid === null ? [] : [discoveryPid]), ...this.#pool.pids],
      tools: this.#inventory.tools.length,
      restarts: this.#restarts,
      inFlight: this.#pool.inFlight,
      reason: this.#reason,
      listedAt: this.#inventory.listedAt,
      sandbox: "none",
      dropped: this.#dropped,
    };
  }
}
