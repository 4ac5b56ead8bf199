import type { ClientCapabilities } from "../core/inbound.ts";
import { type Call, isAsSevere, type LogLevel, type Reply, type Route } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { Followed, TaskWatch, Updated } from "../core/ports.ts";
import type { Down, UpstreamRequest, Listing, ServerState, ServerStatus } from "../core/upstream.ts";
import type { Principal } from "../core/principal.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import { sleep, within } from "../core/wait.ts";
import { eraFor, wantedLevel } from "./capabilities.ts";
import { Discovery } from "./discovery/discovery.ts";
import { faults, ofReading, reasonOf } from "./faults.ts";
import { askOf, replyOf, type Way } from "./forward.ts";
import type { SetHost } from "./host.ts";
import { identityOf, listIdentityOf } from "./identity.ts";
import { listingOf } from "./discovery/inventory.ts";
import { mostTime, type ServerOptions } from "./options.ts";
import { type Instance, Pool, type Slot, type Spec } from "./instances/pool.ts";
import type { AskClient } from "./link/link.ts";
import { query } from "./link/query.ts";
import { specOf } from "./instances/spec.ts";
import { Starter } from "./instances/starter.ts";
import { Subscriptions } from "./subscriptions.ts";
import { statusOf } from "./status.ts";
import { factsOf } from "./transports/index.ts";

/** What may be asked a second time when the connection died before the answer. */
const repeatable = new Set(["prompts/get", "resources/read", "completion/complete", "tasks/get"]);
/** How long a server may take to set its log level, ms. */
const levelMs = 5_000;

/** Whether the same may be asked once more: it changes nothing, and its connection died under it. */
function isRepeatable(error: unknown, { controller }: Call, { method }: UpstreamRequest): boolean {
  return error instanceof Failure && error.code === "lost" && repeatable.has(method) && !controller.signal.aborted;
}

/** Keeps one server running: what it offers, the callers' instances, their calls and subscriptions. */
export class Supervisor {
  readonly identity: string;
  #options: ServerOptions;
  #host: SetHost;
  readonly #starter: Starter;
  readonly #discovery: Discovery;
  readonly #pool: Pool;
  /** Whatever takes its place goes on with them. */
  readonly subscriptions: Subscriptions;
  #dropped = 0;
  #usedAt: number;
  #pulse: Timer | null = null;

  constructor(options: ServerOptions, host: SetHost) {
    this.identity = identityOf(options);
    this.#options = options;
    this.#host = host;
    this.#starter = new Starter(options, host, () => this.#dropped++);
    this.#discovery = new Discovery(options, host, this.#starter, (reason) => this.#crashed(reason));
    this.#usedAt = host.clock.mono();
    this.#pool = new Pool({
      server: options.id,
      clock: host.clock,
      breaker: host.tuning.breaker,
      start: (spec, slot) => this.#start(spec, slot),
      crashed: (down) => this.#instanceCrashed(down),
      ended: (slot) => this.subscriptions.ended(slot),
    });
    this.subscriptions = new Subscriptions({
      server: options.id,
      client: host.client,
      reopen: ({ spec, until }) => this.#open(spec, until),
      wait: ({ spec }) => this.#pool.wait(spec.key),
    });
  }

  get id(): string {
    return this.#options.id;
  }

  get #state(): ServerState {
    return this.#discovery.state;
  }

  // ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether it starts with the gateway, which is not ready before. */
  get boots(): boolean {
    return this.#options.enabled && this.#options.start === "boot";
  }

  /** Starts or stops as its options say; resolves once a server that has to be listed was listed once or failed. */
  async activate(): Promise<void> {
    if (!this.#options.enabled) {
      if (this.#state !== "disabled") await this.stop("disabled");
      return;
    }
    if (this.#state === "disabled") this.#discovery.set("idle", null);
    this.#pulse ??= this.#startPulse();
    // One that was taken over while it starts is waited for too.
    const begins = this.#state === "idle" || this.#state === "starting";
    if (!begins) return;
    if (this.boots) await this.#discovery.connect();
    else if (this.#host.lists.recall(this.id, listIdentityOf(this.#options)) === null) await this.#listOnce();
  }

  /** Nobody can call what no list shows: a server on demand is started to be listed, then rests until it is called. */
  async #listOnce(): Promise<void> {
    const before = this.#usedAt;
    await this.#discovery.connect();
    const unused = this.#pool.size === 0 && this.#usedAt === before;
    if (this.#state === "ready" && unused) await this.#discovery.rest();
  }

  /** Shows what a differently configured server of the same id offered, until this one has been listed itself. */
  inherit(old: Supervisor): void {
    this.#discovery.inherit(old.#discovery);
  }

  /** Takes over from an earlier set; options that do not touch the processes take effect at once. */
  adopt(options: ServerOptions, host: SetHost): void {
    const beat = options.healthCheck !== this.#options.healthCheck;
    this.#options = options;
    this.#host = host;
    this.#starter.adopt(options, host);
    this.#discovery.adopt(options, host);
    if (this.#pulse && beat) {
      clearInterval(this.#pulse);
      this.#pulse = this.#startPulse();
    }
  }

  /** Waits for running calls, at most `ms`, then stops for good. */
  async drain(ms: number): Promise<void> {
    this.subscriptions.close();
    await this.#pool.drained(ms);
    await this.stop();
  }

  async stop(state: "stopping" | "disabled" | "idle" = "stopping", reason: string | null = null): Promise<void> {
    this.#discovery.set(state, reason);
    if (this.#pulse) clearInterval(this.#pulse);
    this.#pulse = null;
    const stopped = this.#discovery.stop();
    // Closing a link ends its handshake too, so nothing that is still starting is waited for.
    await this.#starter.close();
    await Promise.all([this.#pool.close(), stopped]);
  }

  /** Stops everything and starts anew, forgetting earlier failures. Throws when it is disabled. */
  async restart(): Promise<void> {
    if (this.#state === "disabled") throw new Error(`server ${this.id} is disabled; enable it first`);
    await this.stop("idle");
    this.#discovery.forgive();
    await this.enable();
  }

  async enable(): Promise<void> {
    if (this.#state === "disabled") this.#discovery.set("idle", null);
    this.#pulse ??= this.#startPulse();
    await this.#discovery.connect();
  }

  disable(): Promise<void> {
    return this.stop("disabled", "disabled by an operator");
  }

  #crashed(reason: string): void {
    this.#host.record({ type: "server.crashed", actor: "system", facts: { server: this.id, reason } });
    this.#host.changed();
  }

  #instanceCrashed({ owner: principal, reason, until, open }: Down): void {
    const { record, log, clock, changed } = this.#host;
    const facts = { server: this.id, principal, reason };
    log.warn("an instance of a server ended", { ...facts, retryMs: Math.round((until - clock.now()) / 1000) });
    record({ type: "server.crashed", actor: "system", facts });
    if (open) record({ type: "server.circuit-open", actor: "system", facts });
    changed();
  }

  #startPulse(): Timer {
    const timer = setInterval(() => void this.#beat(), this.#options.healthCheck);
    timer.unref();
    return timer;
  }

  async #beat(): Promise<void> {
    const { idleStop, start } = this.#options;
    this.#pool.sweep(idleStop);
    const unused = this.#pool.size === 0 && this.#host.clock.mono() - this.#usedAt > idleStop * 1000;
    if (start === "on-demand" && unused && this.#discovery.instance) await this.#discovery.rest();
    else await this.#discovery.beat();
  }

  // ── instances ───────────────────────────────────────────────────────────────────────────────────────────────

  async #start(spec: Spec, slot: () => Slot): Promise<Instance> {
    const events = {
      notified: (method: string, params: string) => this.#heard(slot(), method, params),
      renewed: () => {
        slot().level = null;
        this.subscriptions.renewed(slot());
      },
    };
    const host = { ...this.#starter.linkHost(events, spec.declares), asked: this.#askerOf(spec) };
    return this.#starter.start(spec.era, host, this.#discovery.speaks);
  }

  /** The way to the client of an instance that is one session's own; null where there is none to be asked. */
  #askerOf({ owner, session, asks }: Spec): AskClient | null {
    if (!asks || owner === null || session === null) return null;
    return (request, signal) => this.#host.asked({ server: this.id, owner, session, request }, signal);
  }

  /** Takes what an instance said outside of any exchange; false when nobody cares. */
  #heard(slot: Slot, method: string, params: string): boolean {
    if (method === "notifications/resources/updated") return this.subscriptions.updated(slot, params);
    if (this.#discovery.heard(method)) return true;
    const { owner, session } = slot.spec;
    return this.#host.notice({ server: this.id, method, params, owner, session });
  }

  /** Waits until it is known which instance the call needs; null when that is known. */
  #met(call: Call, deadline: number): Promise<void> | null {
    this.#usedAt = this.#host.clock.mono();
    const learning = this.#discovery.learn(call.inbound.era);
    return learning && this.#within(call, deadline, learning);
  }

  #slotFor(call: Call, who: Principal): Slot {
    const era = eraFor(call.inbound.era, this.#discovery.speaks);
    const spec = specOf(call, who, this.#options, era);
    return this.#open(spec, spec.owner === null ? null : who.revoked);
  }

  #open(spec: Spec, until: AbortSignal | null): Slot {
    const found = this.#pool.find(spec.key);
    if (found) return found;
    if (this.#state === "idle") void this.#discovery.connect();
    else if (this.#state !== "ready" && this.#state !== "starting") throw this.#unavailable();
    return this.#pool.open(spec, this.#options, until);
  }

  #unavailable(): Failure {
    const wait = this.#discovery.wait();
    return faults.down(this.id, this.#discovery.reason ?? `it is ${this.#state}`, wait > 0 ? wait : undefined);
  }

  /** Waits for a start, as long as the call may take and its caller wants it. */
  #within<T>({ controller: { signal } }: Call, deadline: number, start: Promise<T>): Promise<T> {
    return within(start, deadline - performance.now(), signal, (why) => {
      throw why === "late" ? faults.down(this.id, "it is still starting") : faults.cancelled();
    });
  }

  /** A caller's instance that missed a time-out and does not answer a ping either hangs: it is ended. */
  async #suspect(slot: Slot): Promise<void> {
    const { instance, suspected } = slot;
    // Over HTTP each request is for itself.
    if (!instance || suspected || factsOf(this.#options).perRequest) return;
    slot.suspected = true;
    try {
      await this.#discovery.check(instance);
    } catch (error) {
      instance.link.fail(`it does not answer any more (${reasonOf(error)})`);
    }
    slot.suspected = false;
  }

  // ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────

  // One function for all of it: each asynchronous one in between would cost every call.
  async send(call: Call, who: Principal, route: Route, request: UpstreamRequest): Promise<Reply> {
    const deadline = performance.now() + this.#options.timeout;
    let to = route;
    for (let again = false; ; again = true) {
      // Nothing is waited for that is there: a flood of calls is refused before it piles up.
      const meeting = this.#met(call, deadline);
      if (meeting) await meeting;
      const slot = this.#slotFor(call, who);
      this.#pool.enter(slot);
      try {
        const instance = slot.instance ?? (await this.#within(call, deadline, slot.starting));
        const level = this.#levelFor(slot, instance, call);
        if (level) await this.#setLevel(slot, instance, level);
        const answer = await instance.link.ask(askOf(call, to, request, this.#wayTo(instance, slot, deadline)));
        const mismatch =
          answer.kind === "error" && answer.code === rpcCodes.headerMismatch && instance.peer.era === "modern";
        if (!mismatch || again) return replyOf(answer, instance.peer, this.id, call);
      } catch (error) {
        this.#look(error, slot);
        if (again || !isRepeatable(error, call, request))
          throw repeatable.has(request.method) ? ofReading(error) : error;
        await this.#pauseBefore(slot, call, deadline);
        continue;
      } finally {
        this.#pool.release(slot);
      }
      to = await this.#redefined(call, route, deadline);
    }
  }

  #wayTo({ peer }: Instance, { spec }: Slot, deadline: number): Way {
    const timeout = Math.max(1, Math.ceil(deadline - performance.now()));
    const { client } = this.#host;
    const options = this.#options;
    return { peer, client, timeout, told: options.timeout, most: mostTime(options), asks: spec.asks };
  }

  /** The server refused the headers before it ran anything: its tool is defined otherwise by now. */
  async #redefined(call: Call, route: Route, deadline: number): Promise<Route> {
    await this.#within(call, deadline, this.#discovery.refresh());
    const { name, tool: old } = route;
    return { ...route, tool: old && (this.#discovery.inventory.tools.find((now) => now.name === name) ?? old) };
  }

  /** A failed call may be a sign that its instance or the server is in trouble. */
  #look(error: unknown, slot: Slot): void {
    if (!(error instanceof Failure)) return;
    if (error.code === "timeout") void this.#suspect(slot);
    if (error.code === "upstream-down") void this.#discovery.look();
  }

  /** Waits until an instance that ended may be started again, if the call has the time. */
  async #pauseBefore({ spec: { key } }: Slot, call: Call, deadline: number): Promise<void> {
    const wait = this.#pool.find(key) ? 0 : this.#pool.wait(key);
    if (wait > 0 && wait < deadline - performance.now()) await sleep(wait, call.controller.signal);
  }

  /** The level of log messages that a legacy server has to be asked for first; what others do not want is kept from them. */
  #levelFor(slot: Slot, { peer }: Instance, call: Call): LogLevel | null {
    const wanted = wantedLevel(call);
    if (peer.era === "modern" || wanted === null || wanted === "default") return null;
    if (slot.level !== null && isAsSevere(wanted, slot.level)) return null;
    return Object.hasOwn(this.#discovery.inventory.capabilities, "logging") ? wanted : null;
  }

  async #setLevel(slot: Slot, { link, peer }: Instance, level: LogLevel): Promise<void> {
    slot.level = level;
    const params = { level };
    await query(link, this.#host, { method: "logging/setLevel", peer, timeout: levelMs, params }).catch(() => {
      slot.level = null;
    });
  }

  // ── outside of calls ────────────────────────────────────────────────────────────────────────────────────────

  async subscribe(call: Call, who: Principal, route: Route, updated: Updated): Promise<() => void> {
    return this.subscriptions.add(call, await this.#startedFor(call, who), route.name, updated);
  }

  async followTasks(call: Call, who: Principal, watch: TaskWatch): Promise<Followed> {
    return this.subscriptions.tasks.begin(call, await this.#startedFor(call, who), watch, this.#options.timeout);
  }

  async #startedFor(call: Call, who: Principal): Promise<Slot> {
    const deadline = performance.now() + this.#options.timeout;
    await this.#met(call, deadline);
    const slot = this.#slotFor(call, who);
    await this.#within(call, deadline, slot.starting);
    return slot;
  }

  /** Passes a notification of a caller on to the legacy instances of its session. */
  tell({ session }: Call, who: Principal, method: string): void {
    for (const { spec, instance } of this.#pool) {
      const own = session !== null && spec.session === session.id && spec.owner === who.id;
      if (own && instance?.peer.era === "legacy") void instance.link.tell(method, null, instance.peer);
    }
  }

  endSession(id: string): void {
    for (const slot of [...this.#pool].filter(({ spec }) => spec.session === id)) {
      this.subscriptions.drop(slot.spec.key);
      void this.#pool.stop(slot);
    }
  }

  /** What is offered; null while disabled. */
  listing(): Listing | null {
    if (this.#state === "disabled") return null;
    const { state, reason, inventory } = this.#discovery;
    const ready = state === "ready" || state === "idle";
    return listingOf(this.id, inventory, ready ? null : (reason ?? `it is ${state}`));
  }

  listConditional(capabilities: ClientCapabilities, mayUse: (server: string) => boolean): Promise<void> | null {
    return this.#discovery.listConditional(capabilities, () => mayUse(this.id));
  }

  logs(lines: number): string[] {
    return this.#starter.log.last(lines);
  }

  status(): ServerStatus {
    return statusOf({
      options: this.#options,
      discovery: this.#discovery,
      pool: this.#pool,
      subscriptions: this.subscriptions,
      dropped: this.#dropped,
      now: this.#host.clock.now(),
    });
  }
}
