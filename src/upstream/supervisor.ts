import { createHash } from "node:crypto";
import type { Call, Reply, Tool } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import type { Era } from "../core/inbound.ts";
import { Failure } from "../core/failure.ts";
import type { Logger } from "../core/log.ts";
import type { AuditEvent, Listing, ServerState, ServerStatus } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import type { Self } from "../core/self.ts";
import type { ListStore } from "../core/store.ts";
import type { ScanLimits } from "../mcp/scan.ts";
import { type BreakerOptions, createBreaker } from "./breaker.ts";
import { checkHealth, handshake, type LeftOut, listTools, readTools } from "./discovery.ts";
import { faults, reasonOf } from "./faults.ts";
import { askOf, replyOf } from "./forward.ts";
import type { Link, LinkHost } from "./link.ts";
import type { ServerOptions } from "./options.ts";
import { type Instance, Pool, type Slot } from "./pool.ts";
import type { Reaper } from "./reaper.ts";
import { createStderrLog } from "./stderr-log.ts";
import { openLink, secretsOf, transportOf } from "./transport.ts";
import type { Patience } from "./tree.ts";

/** Times that nobody configures; tests shorten them. In ms. */
export type Tuning = {
  readonly breaker: BreakerOptions;
  readonly patience: Patience;
  /** From the start of an instance to the end of its handshake; npx may have to download first. */
  readonly start: number;
  /** Between a changed list and listing it anew. */
  readonly debounce: number;
};

/** What all supervisors of one set share. */
export type SupervisorHost = {
  readonly limits: ScanLimits & { readonly result: number };
  readonly clock: Clock;
  readonly log: Logger;
  readonly lists: ListStore;
  readonly self: Self;
  readonly run: string;
  readonly client: { readonly name: string; readonly version: string };
  readonly refuses: (tool: Tool) => string | null;
  readonly note: (event: AuditEvent) => void;
  readonly changed: () => void;
  /** Started with the first child. */
  readonly reaper: () => Reaper;
  readonly tuning: Tuning;
};

/** Longest wait for an answer to a health check. */
const mostHealthMs = 10_000;
/** A list may hold this many times the values of a message. */
const listFactor = 20;

const digest = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");

/** What a running server depends on: servers with equal identities can take over each other's processes. */
export function identityOf(options: ServerOptions): string {
  const common = [options.id, options.enabled, options.isolation];
  if ("url" in options) return digest([...common, options.url, options.headers, options.proxy]);
  if ("builtin" in options) return digest([...common, options.builtin]);
  return digest([...common, options.command, options.args, options.env, options.cwd]);
}

/** What a server's list depends on; without values that may be secret, because it is stored. */
function listIdentityOf(options: ServerOptions): string {
  if ("url" in options) return digest([options.id, options.url, Object.keys(options.headers)]);
  if ("builtin" in options) return digest([options.id, options.builtin]);
  return digest([options.id, options.command, options.args, Object.keys(options.env), options.cwd]);
}

/** Keeps one server running: its discovery instance, the callers' instances, its list, its health. */
export class Supervisor {
  readonly identity: string;
  #options: ServerOptions;
  #host: SupervisorHost;
  readonly #log: ReturnType<typeof createStderrLog>;
  readonly #pool: Pool;
  readonly #breaker;
  #state: ServerState = "idle";
  #reason: string | null = null;
  #discovery: Instance | null = null;
  #attempt: Promise<void> | null = null;
  #tools: readonly Tool[] = [];
  #leftOut: readonly LeftOut[] = [];
  #era: Era | null = null;
  #stale = true;
  #listedAt: number | null = null;
  #restarts = 0;
  #dropped = 0;
  #serial = 0;
  readonly #links = new Set<Link>();
  #usedAt: number;
  #retry: Timer | null = null;
  #relist: Timer | null = null;
  #pulse: Timer | null = null;
  #refreshAt = 0;
  #busy = false;

  constructor(options: ServerOptions, host: SupervisorHost) {
    this.identity = identityOf(options);
    this.#options = options;
    this.#host = host;
    this.#log = createStderrLog(secretsOf(options), host.clock);
    this.#breaker = createBreaker(host.tuning.breaker, host.clock.mono);
    this.#usedAt = host.clock.mono();
    this.#pool = new Pool({
      server: options.id,
      clock: host.clock,
      breaker: host.tuning.breaker,
      start: () => this.#start(this.#discovery?.peer.era === "modern" && this.#isHttp),
      crashed: (reason) => this.#crashed(reason),
    });
    if (!options.enabled) this.#state = "disabled";
    this.#recall();
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

  /** Takes over from an earlier set; what does not touch the processes takes effect at once. */
  adopt(options: ServerOptions, host: SupervisorHost): void {
    const beat = options.healthCheck !== this.#options.healthCheck;
    this.#options = options;
    this.#host = host;
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
    await Promise.all([...this.#links].map((link) => link.close()));
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

  // ── instances ───────────────────────────────────────────────────────────────────────────────────────────────

  readonly #linkHost = (factor = 1): LinkHost => {
    const { limits, client, log } = this.#host;
    const { depth, nodes, result } = limits;
    return {
      server: this.id,
      limits: { depth: factor === 1 ? depth : 256, nodes: nodes * factor, result },
      client,
      log,
      dropped: (reason) => {
        this.#dropped++;
        log.debug("dropped a message of a server", { server: this.id, reason });
      },
      notified: (method) => this.#notified(method),
    };
  };

  /** Opens a link and shakes hands; a modern HTTP server needs no handshake per instance. */
  async #start(agreed: boolean, factor = 1): Promise<Instance> {
    const host = this.#linkHost(factor);
    const instance = `${this.#host.run}-${this.id}-${++this.#serial}`;
    const link = openLink(this.#options, host, {
      self: this.#host.self,
      run: this.#host.run,
      instance,
      stderr: (pid) => this.#log.writer(pid),
      spawned: (pid) => this.#spawned(pid),
      gone: (pid, survivors) => this.#gone(pid, survivors),
      patience: this.#host.tuning.patience,
    });
    this.#links.add(link);
    void link.ended.then(() => this.#links.delete(link));
    if (agreed && this.#discovery) return { link, peer: this.#discovery.peer };
    try {
      return { link, peer: await handshake(link, host, this.#host.tuning.start) };
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  #spawned(pid: number): void {
    this.#host.reaper().add(pid);
    const argv = digest("command" in this.#options ? [this.#options.command, ...this.#options.args] : this.id);
    this.#host.note({
      type: "server.started",
      actor: "system",
      facts: { server: this.id, pid, argv, sandbox: "none" },
    });
  }

  #gone(pid: number, survivors: readonly number[]): void {
    this.#host.reaper().remove(pid);
    this.#host.note({ type: "server.stopped", actor: "system", facts: { server: this.id, pid } });
    if (survivors.length > 0) {
      this.#host.log.error("processes of a server cannot be killed", { server: this.id, pids: survivors.join(" ") });
    }
    this.#host.changed();
  }

  // ── discovery ───────────────────────────────────────────────────────────────────────────────────────────────

  /** One attempt to have a discovery instance and a list; never rejects. */
  #connect(): Promise<void> {
    if (this.#discovery || this.#state === "disabled") return Promise.resolve();
    return (this.#attempt ??= this.#tryConnect().finally(() => (this.#attempt = null)));
  }

  async #tryConnect(): Promise<void> {
    this.#set("starting", null);
    try {
      const instance = await this.#start(false, listFactor);
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
    this.#stale = true;
    this.#host.log.warn("a server is not available", { server: this.id, reason, retryMs: Math.round(wait) });
    if (open) {
      this.#host.note({ type: "server.circuit-open", actor: "system", facts: { server: this.id, reason } });
    }
    this.#set(open ? "open-circuit" : "backoff", reason);
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.#restarts++;
      void this.#connect();
    }, wait);
  }

  #crashed(reason: string): void {
    this.#host.note({ type: "server.crashed", actor: "system", facts: { server: this.id, reason } });
    this.#host.changed();
  }

  async #list(instance: Instance): Promise<void> {
    const { limits, refuses, log, clock, lists } = this.#host;
    const host = this.#linkHost(listFactor);
    const list = await listTools(instance.link, host, instance.peer, { ...limits, refuses });
    for (const warning of list.warnings) log.warn(warning, { server: this.id });
    for (const { name, reason } of list.leftOut) {
      log.warn("a tool is not offered", { server: this.id, tool: name, reason });
    }
    const texts = list.tools.map(({ text }) => text);
    const same = texts.length === this.#tools.length && texts.every((text, at) => text === this.#tools[at]?.text);
    if (!same) this.#tools = list.tools;
    this.#leftOut = list.leftOut;
    this.#era = instance.peer.era;
    this.#stale = false;
    this.#listedAt = clock.now();
    this.#refreshAt = clock.mono() + this.#options.refresh * 1000;
    if (!same) lists.remember(this.id, listIdentityOf(this.#options), instance.peer.era, texts);
    if (!same) this.#host.changed();
  }

  #recall(): void {
    const { lists, limits, refuses } = this.#host;
    const remembered = lists.recall(this.id, listIdentityOf(this.#options));
    if (!remembered) return;
    this.#era = remembered.era;
    const { tools, leftOut } = readTools(remembered.tools, remembered.era, { ...limits, refuses });
    this.#tools = tools;
    this.#leftOut = leftOut;
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
    await checkHealth(link, this.#linkHost(), peer, Math.min(this.#options.healthCheck, mostHealthMs));
  }

  /** A caller's instance that missed a time-out and does not answer a ping either hangs: it is ended. */
  async #suspect({ instance }: Slot): Promise<void> {
    if (!instance || instance.link.pid === null) return;
    try {
      await this.#check(instance);
    } catch (error) {
      instance.link.fail(`it does not answer any more (${reasonOf(error)})`);
    }
  }

  // ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────

  async send(call: Call, who: Principal, tool: Tool): Promise<Reply> {
    const { timeout } = this.#options;
    const deadline = performance.now() + timeout;
    this.#usedAt = this.#host.clock.mono();
    if (this.#needsDiscovery) await this.#within(call, timeout, this.#connect());
    const slot = this.#slot(who);
    slot.inFlight++;
    try {
      const instance = slot.instance ?? (await this.#within(call, deadline - performance.now(), slot.starting));
      const left = Math.max(1, Math.ceil(deadline - performance.now()));
      const ask = askOf(call, tool, instance.peer, this.#linkHost(), left);
      return replyOf(await instance.link.ask(ask), instance.peer, this.id);
    } catch (error) {
      if (error instanceof Failure && error.code === "timeout") void this.#suspect(slot);
      if (error instanceof Failure && error.code === "upstream-down" && this.#isHttp) void this.#probeSoon();
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

  get #shared(): boolean {
    const transport = transportOf(this.#options);
    const usual = transport === "builtin" || (transport === "http" && this.#discovery?.peer.era === "modern");
    return (this.#options.isolation ?? (usual ? "shared" : "per-principal")) === "shared";
  }

  #unavailable(): Failure {
    const wait = this.#breaker.wait();
    return faults.down(this.id, this.#reason ?? `it is ${this.#state}`, wait > 0 ? wait : undefined);
  }

  #probeSoon(): Promise<void> {
    return this.#probe((instance) => this.#check(instance));
  }

  /** Waits for a start, as long as the call may take and its caller wants it. */
  async #within<T>(call: Call, ms: number, start: Promise<T>): Promise<T> {
    if (call.signal.aborted) throw faults.cancelled();
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(faults.down(this.id, "it is still starting")), ms);
    const abort = (): void => reject(faults.cancelled());
    call.signal.addEventListener("abort", abort, { once: true });
    try {
      return await Promise.race([start, promise]);
    } finally {
      clearTimeout(timer);
      call.signal.removeEventListener("abort", abort);
    }
  }

  // ── views ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** What is offered; null while disabled. */
  listing(): Listing | null {
    if (this.#state === "disabled") return null;
    return { server: this.id, tools: this.#tools, stale: this.#stale, leftOut: this.#leftOut };
  }

  logs(lines: number): string[] {
    return this.#log.last(lines);
  }

  status(): ServerStatus {
    const { id, name } = this.#options;
    const discoveryPid = this.#discovery?.link.pid ?? null;
    return {
      id,
      name: name ?? id,
      transport: transportOf(this.#options),
      state: this.#state,
      era: this.#era,
      revision: this.#discovery?.peer.revision ?? null,
      instances: this.#pool.size,
      pids: [...(discoveryPid === null ? [] : [discoveryPid]), ...this.#pool.pids],
      tools: this.#tools.length,
      restarts: this.#restarts,
      inFlight: this.#pool.inFlight,
      reason: this.#reason,
      listedAt: this.#listedAt,
      sandbox: "none",
      dropped: this.#dropped,
    };
  }
}
