import { Busy } from "../../core/busy.ts";
import { Cancel, onAbort } from "../../core/cancel.ts";
import type { Clock } from "../../core/clock.ts";
import type { LogLevel } from "../../core/inbound.ts";
import type { Down } from "../../core/upstream.ts";
import type { BreakerOptions } from "../breaker.ts";
import { faults, reasonOf, Shortage } from "../faults.ts";
import type { AskClient, Instance } from "../link/link.ts";
import { Failures } from "./failures.ts";
import type { FirstQuestions } from "./first-questions.ts";
import { endable, holdsMost, mostOfOne } from "./share.ts";
import type { Spec } from "./spec.ts";

/** An instance that calls need. */
export type Need = {
  readonly spec: Spec;
  /** Aborts when the owner loses its rights, which ends the instance. */
  readonly until: AbortSignal | null;
};

/** The instance of one key, started or starting. */
export type Slot = Need & {
  readonly starting: Promise<Instance>;
  /** Ends when all whom it serves have left: from then on nobody waits for its start. */
  readonly deserted: Cancel;
  instance: Instance | null;
  /** Calls in flight, and callers that follow tasks: the instance is kept while there are any. */
  uses: number;
  /**
   * Those of its owner who have called it and may come back: sessions by id until they end, null for calls without one.
   */
  readonly users: Set<string | null>;
  /** Whether it ever gave its owner what has to be come back for: a task, or a question to be answered with a retry. */
  owes: boolean;
  /** The level of log messages that the server was asked for; null: it was asked for none. */
  level: LogLevel | null;
  /** It once said nothing to that in time, so that no call waits for it any more. */
  levelLate: boolean;
  /** The ways to the clients of the calls that wait until it has started, or is prepared. */
  readonly waiting: Set<AskClient>;
  /** What the server asks before the next call; null once that was waited for. */
  first: FirstQuestions | null;
  /** Resolves once it has; null where it is not waited for. */
  settling: Promise<void> | null;
  /** The instance is being checked because a call on it timed out. */
  suspected: boolean;
  /** Monotonic µs of the last use. */
  usedAt: number;
};

/** How many instances there may be, and how long an unused one is kept, ms. */
type Places = { readonly maxInstances: number; readonly idleStop: number };

type PoolHost = {
  readonly server: string;
  readonly clock: Clock;
  readonly breaker: BreakerOptions;
  places(): Places;
  start(slot: Slot): Promise<Instance>;
  /** Whether resources of the instance are subscribed to: they keep it as a call does. */
  isSubscribed(slot: Slot): boolean;
  /** An instance has ended, for whatever reason. */
  ended(slot: Slot): void;
  /** An instance ended without being asked to. */
  crashed(failure: ReturnType<Failures["add"]>): void;
};

/**
 * Most calls in flight to one server: far below what Bun's fetch takes in all, so that one server never blocks others.
 */
const mostInFlight = 1024;

/** How long an idle instance that owes nothing is kept for calls without a session, which may be over or not; ms. */
const sessionlessMs = 60_000;

/** How long an idle instance is kept for its owner while others need its place, ms. */
function keptFor({ users, owes }: Slot, idleStop: number): number {
  if (users.size === 0) return 0;
  return users.size === 1 && users.has(null) && !owes ? Math.min(sessionlessMs, idleStop) : idleStop;
}

/**
 * The instances of a server, one per key. A key that names a principal or a session keeps the data of that caller
 * apart.
 */
export class Pool {
  readonly #host: PoolHost;
  readonly #slots = new Map<string, Slot>();
  /**
   * Slots that were removed while something of their instance may still run; each promise resolves when nothing does.
   */
  readonly #leaving = new Map<Slot, Promise<void>>();
  /** Slots whose instance is started once one that leaves has ended. */
  readonly #waiting = new Map<Slot, PromiseWithResolvers<void>>();
  readonly #failures: Failures;
  /** Calls that were counted in and not out yet. */
  inFlight = 0;
  /** These, and the calls that keep the server while no request of theirs is in flight. */
  readonly #busy = new Busy();

  constructor(host: PoolHost) {
    this.#host = host;
    this.#failures = new Failures(host.breaker, host.clock);
  }

  /** The instances that run, those that are about to end included. */
  get size(): number {
    return this.#slots.size - this.#waiting.size + this.#leaving.size;
  }

  get pids(): number[] {
    return [...this.#slots.values(), ...this.#leaving.keys()].flatMap(({ instance }) => instance?.link.pid ?? []);
  }

  /** Instances that ended without being asked to, since the start. */
  get crashes(): number {
    return this.#failures.count;
  }

  /** The instances that ended so lately and do not run again. */
  get down(): Down[] {
    return this.#failures.down((key) => Boolean(this.#slots.get(key)?.instance));
  }

  find(key: string): Slot | undefined {
    return this.#slots.get(key);
  }

  /**
   * Starts the instance of a key; throws `overloaded` beyond `maxInstances`, `upstream-down` soon after a crash. The
   * start waits for those that take their time to end: while as many run as there may be, and for the process that
   * served this key before.
   */
  open({ spec, until }: Need): Slot {
    const { server, clock } = this.#host;
    const { key } = spec;
    if (until?.aborted) throw faults.cancelled();
    const wait = this.wait(key);
    if (wait > 0) throw faults.down(server, "it ended unexpectedly and is about to be restarted", wait);
    const { maxInstances } = this.#host.places();
    const crowds = holdsMost(this.#slots.values(), spec.owner, maxInstances);
    if (crowds || this.#slots.size >= maxInstances) this.#makeRoom(spec, crowds);
    const turn = Promise.withResolvers<void>();
    const slot: Slot = {
      spec,
      until,
      starting: turn.promise.then(() => this.#host.start(slot)),
      deserted: new Cancel(),
      instance: null,
      uses: 0,
      users: new Set(),
      owes: false,
      level: null,
      waiting: new Set(),
      first: null,
      settling: null,
      levelLate: false,
      suspected: false,
      usedAt: clock.mono(),
    };
    this.#slots.set(key, slot);
    this.#waiting.set(slot, turn);
    this.#startWaiting();
    // When the owner's key is revoked, the instance that was started for it is stopped.
    const unwatch = until && onAbort(until, () => this.desert(slot));
    void this.#follow(slot).finally(() => unwatch?.());
    return slot;
  }

  /**
   * Ends an idle instance, so that neither callers who have left nor the idle sessions of one keep another out.
   * `crowds`: the owner holds as many as one may.
   */
  #makeRoom({ owner }: Spec, crowds: boolean): void {
    const { maxInstances, idleStop } = this.#host.places();
    const now = this.#host.clock.mono();
    const isLeft = (slot: Slot): boolean => this.#isIdle(slot) && slot.usedAt + keptFor(slot, idleStop) * 1000 <= now;
    const givers = endable(this.#slots.values(), owner, maxInstances, isLeft);
    const idle = givers.find((slot) => slot.instance && this.#isIdle(slot));
    if (idle) return void this.stop(idle);
    if (crowds) {
      const reason = `all ${mostOfOne(maxInstances)} of its ${maxInstances} instances that one caller may have are in use (maxInstances)`;
      throw faults.full(this.#host.server, reason);
    }
    const waits = [...this.#slots.values()].map(
      (slot) => (this.#isIdle(slot) ? (slot.usedAt - now) / 1000 : 0) + keptFor(slot, idleStop),
    );
    // Where an instance may be ended but is busy, there is room as soon as it is idle.
    const wait = givers.length > 0 ? 0 : Math.ceil(Math.min(...waits));
    const reason = `all of its ${maxInstances} instances are in use or kept for callers who have not left and hold no more than their share (maxInstances, idleStop)`;
    throw faults.full(this.#host.server, reason, Math.max(1_000, wait));
  }

  #isIdle(slot: Slot): boolean {
    return slot.uses === 0 && !this.#host.isSubscribed(slot);
  }

  async #follow(slot: Slot): Promise<void> {
    try {
      const instance = await slot.starting;
      slot.instance = instance;
      const end = await instance.link.ended;
      if (this.#forget(slot) && !end.expected) this.#failed(slot.spec, end.reason);
    } catch (error) {
      if (this.#forget(slot) && !(error instanceof Shortage)) this.#failed(slot.spec, reasonOf(error));
    }
    this.#host.ended(slot);
  }

  /** Removes a slot from the pool and ends its instance; false when it was removed before. */
  #forget(slot: Slot): boolean {
    if (this.#slots.get(slot.spec.key) !== slot) return false;
    this.#slots.delete(slot.spec.key);
    const turn = this.#waiting.get(slot);
    this.#waiting.delete(slot);
    if (turn) turn.reject(faults.down(this.#host.server, "it was stopped"));
    else this.#leaving.set(slot, this.#leave(slot));
    return true;
  }

  async #leave(slot: Slot): Promise<void> {
    const instance = await slot.starting.catch(() => null);
    await instance?.link.close();
    this.#leaving.delete(slot);
    this.#startWaiting();
  }

  /** Starts the instances that wait for nothing that leaves, first those that have waited longest. */
  #startWaiting(): void {
    for (const [slot, turn] of this.#waiting) {
      if (this.#leaving.size > 0 && this.size >= this.#host.places().maxInstances) return;
      if (this.#hasPredecessor(slot)) continue;
      this.#waiting.delete(slot);
      turn.resolve();
    }
  }

  /** Whether the process that served a slot's key before has yet to end; of a start that is cut off, any may come. */
  #hasPredecessor({ spec }: Slot): boolean {
    return this.#leaving.keys().some((old) => old.spec.key === spec.key && old.instance?.link.pid !== null);
  }

  #failed({ key, owner }: Spec, reason: string): void {
    this.#host.crashed(this.#failures.add(key, owner, reason));
  }

  /**
   * Counts a call in, before it is known which instance it needs; throws `overloaded` when too many are in flight. Each
   * call is counted out by `leave`.
   */
  enter(): void {
    if (this.inFlight >= mostInFlight) {
      throw faults.full(this.#host.server, `${mostInFlight} calls wait for its answers`);
    }
    this.inFlight++;
    this.#busy.enter();
  }

  leave(): void {
    this.inFlight--;
    this.#busy.leave();
  }

  /** Keeps the server for a call of several requests, until the function is called that it returns. */
  hold(): () => void {
    this.#busy.enter();
    return () => this.#busy.leave();
  }

  /** Keeps an instance for a call, or a caller that follows tasks, until `release`. */
  use(slot: Slot): void {
    slot.uses++;
  }

  release(slot: Slot): void {
    slot.uses--;
    slot.usedAt = this.#host.clock.mono();
  }

  /** Resolves when nothing is in flight and no call keeps the server, at the latest after `ms`. */
  drained(ms: number): Promise<void> {
    return this.#busy.idle(ms);
  }

  /** Stops the instances that nobody used for `ms`. */
  sweep(ms: number): void {
    const before = this.#host.clock.mono() - ms * 1000;
    for (const slot of this.#slots.values()) {
      if (slot.instance && this.#isIdle(slot) && slot.usedAt < before) void this.stop(slot);
    }
  }

  /** Milliseconds until the instance of a key may be started again after it failed. */
  wait(key: string): number {
    return this.#failures.wait(key);
  }

  *[Symbol.iterator](): Iterator<Slot> {
    yield* this.#slots.values();
  }

  async stop(slot: Slot): Promise<void> {
    this.#forget(slot);
    await this.#leaving.get(slot);
  }

  /** Stops an instance, in its handshake too, since all whom it serves have left. */
  desert(slot: Slot): void {
    void this.stop(slot);
    slot.deserted.abort();
  }

  async close(): Promise<void> {
    this.#failures.clear();
    await Promise.all([...this.#slots.values(), ...this.#leaving.keys()].map((slot) => this.stop(slot)));
  }
}
