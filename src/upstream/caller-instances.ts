import type { Call, IdentifiedCall, Party, Tool } from "../core/call.ts";
import type { Failure } from "../core/failure.ts";
import type { Era } from "../core/inbound.ts";
import { isObject, objectIn } from "../core/json.ts";
import { changedMethod } from "../core/lists.ts";
import type { Updated } from "../core/ports.ts";
import { within } from "../core/wait.ts";
import { forNextHop } from "../mcp/meta.ts";
import { CallerTools } from "./discovery/caller-tools.ts";
import { listenForChanges } from "./discovery/inventory.ts";
import { faults } from "./faults.ts";
import type { Terms } from "./host.ts";
import type { Failures } from "./instances/failures.ts";
import { FirstQuestions } from "./instances/first-questions.ts";
import { type Need, Pool, type Slot } from "./instances/pool.ts";
import { type Spec, specOf } from "./instances/spec.ts";
import type { Starter } from "./instances/starter.ts";
import type { AskClient, Instance } from "./link/link.ts";
import type { OwnInstance } from "./own-instance.ts";
import { Subscriptions } from "./subscriptions.ts";

const hasRoots = ({ declares }: Spec): boolean => isObject(objectIn(declares).roots);

/** The instances of one server that serve callers: decides which one a call gets and routes their notifications. */
export class CallerInstances {
  readonly pool: Pool;
  /** Handed on to the server that replaces this one. */
  readonly subscriptions: Subscriptions;
  readonly #tools: CallerTools;
  readonly #terms: Terms;
  readonly #starter: Starter;
  readonly #own: OwnInstance;
  /** Slots that are being notified of a change; false if a further change has not been sent yet. */
  readonly #told = new Map<Slot, boolean>();
  #usedAt: number;

  constructor(terms: Terms, starter: Starter, own: OwnInstance) {
    const { options, host } = terms;
    this.#terms = terms;
    this.#starter = starter;
    this.#own = own;
    this.#usedAt = host.clock.mono();
    this.pool = new Pool({
      server: options.id,
      clock: host.clock,
      breaker: host.tuning.breaker,
      places: () => terms.options,
      start: async (slot) => {
        const instance = await this.#start(slot);
        const heard = (method: string, params: string): void => void this.#heard(slot, method, params);
        listenForChanges(instance, { heard, missed: () => this.#tools.changed(slot) });
        return instance;
      },
      isSubscribed: ({ spec }) => this.subscriptions.has(spec.key),
      crashed: (down) => this.#crashed(down),
      ended: (slot) => {
        this.subscriptions.ended(slot);
        this.#tools.forget(slot);
      },
    });
    this.#tools = new CallerTools(terms, () => own.inventory.tools);
    this.subscriptions = new Subscriptions({
      server: options.id,
      clock: host.clock,
      timeout: () => terms.options.timeout,
      learn: (era) => this.#own.learn(era),
      need: (party) => this.#needOf(party),
      open: (need) => this.#open(need),
      wait: ({ spec }) => this.pool.wait(spec.key),
    });
  }

  /** Reports whether no instance is running and no call has asked for one after this time (monotonic µs). */
  unusedSince(time: number): boolean {
    return this.pool.size === 0 && this.#usedAt <= time;
  }

  /** Returns the tools that only this party's instance offers. */
  callerTools(party: Party): readonly Tool[] {
    const slot = this.#telling(party);
    return slot ? this.#tools.of(slot) : [];
  }

  /** Resolves once those tools are known; null if there is nothing to wait for. */
  learnTools(party: Party): Promise<void> | null {
    const slot = this.#telling(party);
    return slot ? this.#tools.learn(slot) : null;
  }

  /** Asks again the instances that did not list their tools. */
  retry(): void {
    this.#tools.retry();
  }

  /** The party's instance if it may have tools of its own. */
  #telling(party: Party): Slot | null {
    return this.#tools.empty ? null : (this.pool.find(this.#needOf(party).spec.key) ?? null);
  }

  /** Resolves once it is known which instance the call needs; null if it is known already. */
  learn(call: Call, deadline: number): Promise<void> | null {
    this.#usedAt = this.#terms.host.clock.mono();
    const learning = this.#own.learn(call.inbound.era);
    return learning && this.within(call, deadline, learning);
  }

  /**
   * Returns the instance that the call needs, and starts it if it is not running. Throws as `Pool.open` does, and
   * `cancelled` if the call has been given up: nothing would end an instance started for a session that is over.
   */
  slotFor(call: IdentifiedCall): Slot {
    if (call.controller.signal.aborted) throw faults.cancelled();
    const need = this.#needOf(call);
    const { spec } = need;
    if (spec.asks && call.input) this.#stopUnheard(spec);
    const slot = this.#open(need);
    if (spec.owner !== null) slot.users.add(call.session?.id ?? null);
    return slot;
  }

  #needOf(party: Party): Need {
    const spec = specOf(party, this.#terms.options, this.#starter.eraFor(party.inbound.era));
    return { spec, until: spec.owner === null ? null : party.who.revoked };
  }

  /** Returns the instance that the call needs once it is running. */
  async started(call: IdentifiedCall): Promise<Slot> {
    const deadline = performance.now() + this.#terms.options.timeout;
    await this.learn(call, deadline);
    const slot = this.slotFor(call);
    await this.within(call, deadline, slot.starting);
    return slot;
  }

  /**
   * Waits as `within` does. In the meantime the server's first questions may reach the client through this call, since
   * the call that began the wait may end earlier.
   */
  async waiting<T>(slot: Slot, call: Call, deadline: number, start: Promise<T>): Promise<T> {
    const ask = slot.spec.asks ? call.input : null;
    if (ask) slot.waiting.add(ask);
    try {
      return await this.within(call, deadline, start);
    } finally {
      if (ask) slot.waiting.delete(ask);
    }
  }

  /**
   * Stops an instance whose first questions reached no client, so that this call, which can be asked, starts another.
   */
  #stopUnheard({ key }: Spec): void {
    const slot = this.pool.find(key);
    if (slot?.first?.unheard && slot.uses === 0) this.pool.desert(slot);
  }

  async subscribe(call: IdentifiedCall, uri: string, updated: Updated): Promise<() => void> {
    // A reload hands the subscription on to the changed server; the hold keeps the old one running until it has
    // answered.
    const leave = this.pool.hold();
    try {
      return await this.subscriptions.add(call, await this.started(call), uri, updated);
    } finally {
      leave();
    }
  }

  /** Waits for a start until the call's deadline, or until its caller gives up. */
  within<T>({ controller: { signal } }: Call, deadline: number, start: Promise<T>): Promise<T> {
    return within(start, deadline - performance.now(), signal, (why) => {
      throw why === "late" ? faults.down(this.#terms.options.id, "it is still starting") : faults.cancelled();
    });
  }

  /**
   * Notifies the legacy instances of a caller's session of a change; those that are starting may have read the old
   * value. Changes that come while one is being sent are combined into one more notification.
   */
  notify({ session, who }: IdentifiedCall, method: string): void {
    for (const slot of this.pool) {
      if (session === null || slot.spec.session !== session.id || slot.spec.owner !== who.id) continue;
      const isTold = this.#told.has(slot);
      this.#told.set(slot, false);
      if (!isTold) void this.#tell(slot, method);
    }
  }

  async #tell(slot: Slot, method: string): Promise<void> {
    const instance = await slot.starting.catch(() => null);
    while (this.#told.get(slot) === false) {
      this.#told.set(slot, true);
      if (instance?.peer.era === "legacy") await instance.link.notify(method, null, instance.peer);
    }
    this.#told.delete(slot);
  }

  endSession(id: string): void {
    for (const slot of this.pool) {
      slot.users.delete(id);
      if (slot.spec.session !== id) continue;
      this.subscriptions.drop(slot.spec.key);
      this.pool.desert(slot);
    }
  }

  #open(need: Need): Slot {
    const found = this.pool.find(need.spec.key);
    if (found) return found;
    const { state } = this.#own;
    if (state === "idle") void this.#own.connect();
    else if (state !== "ready" && state !== "starting") throw this.#unavailable();
    return this.pool.open(need);
  }

  #unavailable(): Failure {
    const { reason, state } = this.#own;
    const wait = this.#own.wait();
    return faults.down(this.#terms.options.id, reason ?? `it is ${state}`, wait > 0 ? wait : undefined);
  }

  async #start(slot: Slot): Promise<Instance> {
    const { spec } = slot;
    const events = {
      notified: (method: string, params: string) => this.#heard(slot, method, params),
      renewed: () => {
        slot.level = null;
        this.subscriptions.renewed(slot);
        this.#tools.forget(slot);
        // The server asks its questions again; if a call is waiting for them, the present `first` hears them in any
        // session.
        if (!slot.settling) slot.first = this.#firstOf(slot);
        // A server that has lost its sessions has been restarted and may offer something else.
        void this.#own.check();
      },
    };
    const host = {
      ...this.#starter.linkHost(events, spec.declares),
      asker: (method: string) => this.#askerOf(slot, method),
    };
    const start = (era: Era): Promise<Instance> => this.#starter.start(era, host, slot.deserted);
    const first = (slot.first = this.#firstOf(slot));
    try {
      const instance = await start(this.#starter.eraFor(spec.era));
      // From here on, questions can refer to the call's own request.
      if ((await first?.settled(instance)) && slot.first === first) slot.first = null;
      return instance;
    } catch (error) {
      // The server has been replaced by one that speaks only the newer era.
      if (!this.#starter.doubtLegacy(error)) throw error;
      return start("modern");
    }
  }

  /** Creates the first questions of a new session; null if the client has no roots. */
  #firstOf(slot: Slot): FirstQuestions | null {
    return hasRoots(slot.spec) ? new FirstQuestions(() => this.#firstAsker(slot)) : null;
  }

  /** Asks through the session if its client is listening, otherwise through a call that waits for the instance. */
  #firstAsker({ spec, waiting }: Slot): AskClient | null {
    const client = this.#clientOf(spec);
    return client?.isThere ? client.ask : (waiting.values().next().value ?? null);
  }

  /** Returns the way to the client for a question that the server asks outside of any call. */
  #askerOf({ spec, first }: Slot, method: string): AskClient | null {
    const heard = method === "roots/list" ? first?.hear() : null;
    return heard ?? this.#clientOf(spec)?.ask ?? null;
  }

  /** Resolves once the server has the answers to its first questions; null if there is nothing to wait for. */
  settling(slot: Slot, instance: Instance): Promise<void> | null {
    // The questions reached no client. This call runs without answers, so no later call restarts the server for them.
    if (slot.first?.unheard && !slot.settling) slot.first = null;
    const { first } = slot;
    if (first && !slot.settling) {
      // Begins in a microtask, when the call is among those that wait.
      const settled = Promise.resolve(instance).then((it) => first.settled(it));
      slot.settling = settled.then(() => {
        slot.settling = null;
        if (!first.unheard) slot.first = null;
      });
    }
    return slot.settling;
  }

  /** The client of an instance that belongs to one session, and whether it can be asked now; otherwise null. */
  #clientOf({ owner, session, asks }: Spec): { readonly ask: AskClient; readonly isThere: boolean } | null {
    if (!asks || owner === null || session === null) return null;
    const { options, host } = this.#terms;
    return {
      ask: (request, signal) => this.#terms.host.askSession({ server: options.id, owner, session, request }, signal),
      isThere: host.canAskSession(session, owner),
    };
  }

  /** Handles a notification that belongs to no request; returns false if nobody wants it. */
  #heard(slot: Slot, method: string, params: string): boolean {
    if (method === "notifications/resources/updated") return this.subscriptions.updated(slot, params);
    if (this.#own.heard(method)) {
      if (method === changedMethod("tools")) this.#tools.changed(slot);
      return true;
    }
    const { owner, session } = slot.spec;
    const { options, host } = this.#terms;
    host.notice({ server: options.id, method, params: forNextHop(params, null), owner, session });
    return true;
  }

  #crashed({ owner: principal, reason, until, opened }: ReturnType<Failures["add"]>): void {
    const { record, log, clock, changed } = this.#terms.host;
    const facts = { server: this.#terms.options.id, principal, reason };
    // A caller that keeps opening sessions can make the instance of each end, so the lines are limited by kind.
    const kind = `${facts.server} ${principal}`;
    log.warn("an instance of a server ended", { ...facts, retryMs: Math.round(until - clock.now() / 1000) }, kind);
    record({ type: "server.crashed", actor: "system", facts });
    if (opened) record({ type: "server.circuit-open", actor: "system", facts });
    changed();
  }
}
