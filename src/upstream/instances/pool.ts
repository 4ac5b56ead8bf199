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
import { endable, holdsMax, maxPerCaller } from "./share.ts";
import type { Spec } from "./spec.ts";

/** The instance that a call needs. */
export type Need = {
  readonly spec: Spec;
  /** Aborts when the owner loses its rights, which ends the instance. */
  readonly until: AbortSignal | null;
};

/** The instance of one key, running or starting. */
export type Slot = Need & {
  readonly starting: Promise<Instance>;
  /** Aborts when all callers of the instance have left, so that nobody is waiting for its start. */
  readonly deserted: Cancel;
  instance: Instance | null;
  /** The number of calls in flight and of callers that follow tasks; the instance is kept while there are any. */
  uses: number;
  /** The owner's sessions that called it, until they end, since they may call again; null: calls without a session. */
  readonly users: Set<string | null>;
  /** Whether it ever gave its owner something to come back for: a task, or a question to be answered with a retry. */
  owes: boolean;
  /** The log level set on the server; null: none. */
  level: LogLevel | null;
  /** Whether the server once failed to set a log level in time; calls then no longer wait for it. */
  levelLate: boolean;
  /** The ways to the clients of calls that wait for the instance to start or to be prepared. */
  readonly waiting: Set<AskClient>;
  /** The server's questions before the next call; null once they have been waited for. */
  first: FirstQuestions | null;
  /** Resolves once these are settled; null if no call waits for them. */
  settling: Promise<void> | null;
  /** Whether the instance is being checked because a call on it timed out. */
  suspected: boolean;
  /** Monotonic µs of the last use. */
  usedAt: number;
};

/** The maximum number of instances, and how long an unused one is kept, ms. */
type Places = { readonly maxInstances: number; readonly idleStop: number };

type PoolHost = {
  readonly server: string;
  readonly clock: Clock;
  readonly breaker: BreakerOptions;
  places(): Places;
  start(slot: Slot): Promise<Instance>;
  /** Whether the instance has subscriptions, which keep it as a call does. */
  isSubscribed(slot: Slot): boolean;
  /** Called when an instance has ended for any reason. */
  ended(slot: Slot): void;
  /** Called when an instance ended unexpectedly. */
  crashed(failure: ReturnType<Failures["add"]>): void;
};

/**
 * Maximum calls in flight to one server: far below the limit of Bun's fetch, so that one server never blocks others.
 */
const maxInFlight = 1024;

/** How long an idle instance that owes nothing is kept for calls without a session, whose caller may be gone; ms. */
const sessionlessMs = 60_000;

/** Returns how long an idle instance is kept for its owner while others need its place, ms. */
function keptFor({ users, owes }: Slot, idleStop: number): number {
  if (users.size === 0) return 0;
  return users.size === 1 && users.has(null) && !owes ? Math.min(sessionlessMs, idleStop) : idleStop;
}

/** The instances of a server, one per key; a key with a principal or session isolates that caller's data. */
export class Pool {
  readonly #host: PoolHost;
  readonly #slots = new Map<string, Slot>();
  /** Removed slots whose instance may still be running in part; the promise resolves when it has ended. */
  readonly #leaving = new Map<Slot, Promise<void>>();
  /** Slots whose instance starts once another one has ended. */
  readonly #waiting = new Map<Slot, PromiseWithResolvers<void>>();
  readonly #failures: Failures;
  /** The number of calls that have entered and not left. */
  inFlight = 0;
  /** These calls, and those that hold the server while none of their requests is in flight. */
  readonly #busy = new Busy();

  constructor(host: PoolHost) {
    this.#host = host;
    this.#failures = new Failures(host.breaker, host.clock);
  }

  /** The number of running instances, including those that are about to end. */
  get size(): number {
    return this.#slots.size - this.#waiting.size + this.#leaving.size;
  }

  get pids(): number[] {
    return [...this.#slots.values(), ...this.#leaving.keys()].flatMap(({ instance }) => instance?.link.pid ?? []);
  }

  /** The number of instances that ended unexpectedly since the start. */
  get crashes(): number {
    return this.#failures.count;
  }

  /** The instances that ended unexpectedly a short time ago and are not running again. */
  get down(): Down[] {
    return this.#failures.down((key) => Boolean(this.#slots.get(key)?.instance));
  }

  find(key: string): Slot | undefined {
    return this.#slots.get(key);
  }

  /**
   * Starts the instance of a key. Throws `overloaded` beyond `maxInstances`, and `upstream-down` soon after a crash.
   * The start waits for instances that are still ending, if the maximum is running, and for the process that served
   * this key before.
   */
  open({ spec, until }: Need): Slot {
    const { server, clock } = this.#host;
    const { key } = spec;
    if (until?.aborted) throw faults.cancelled();
    const wait = this.wait(key);
    if (wait > 0) throw faults.down(server, "it ended unexpectedly and is about to be restarted", wait);
    const { maxInstances } = this.#host.places();
    const crowds = holdsMax(this.#slots.values(), spec.owner, maxInstances);
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
    // When the owner's key is revoked, its instance is stopped.
    const unwatch = until && onAbort(until, () => this.desert(slot));
    void this.#follow(slot).finally(() => unwatch?.());
    return slot;
  }

  /** Ends an idle instance, so that no caller keeps others out. `crowds`: the owner holds its maximum. */
  #makeRoom({ owner }: Spec, crowds: boolean): void {
    const { maxInstances, idleStop } = this.#host.places();
    const now = this.#host.clock.mono();
    const isLeft = (slot: Slot): boolean => this.#isIdle(slot) && slot.usedAt + keptFor(slot, idleStop) * 1000 <= now;
    const givers = endable(this.#slots.values(), owner, maxInstances, isLeft);
    const idle = givers.find((slot) => slot.instance && this.#isIdle(slot));
    if (idle) return void this.stop(idle);
    if (crowds) {
      const reason = `all ${maxPerCaller(maxInstances)} of its ${maxInstances} instances that one caller may have are in use (maxInstances)`;
      throw faults.full(this.#host.server, reason);
    }
    const waits = [...this.#slots.values()].map(
      (slot) => (this.#isIdle(slot) ? (slot.usedAt - now) / 1000 : 0) + keptFor(slot, idleStop),
    );
    // If an instance may be ended but is busy, there is room as soon as it is idle.
    const wait = givers.length > 0 ? 0 : Math.ceil(Math.min(...waits));
    const reason = `all of its ${maxInstances} instances are in use or kept for callers that have not left and hold no more than their share (maxInstances, idleStop)`;
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

  /** Removes a slot from the pool and ends its instance; returns false if it was removed before. */
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

  /** Starts the waiting instances that need not wait for another one to end, in the order in which they came. */
  #startWaiting(): void {
    for (const [slot, turn] of this.#waiting) {
      if (this.#leaving.size > 0 && this.size >= this.#host.places().maxInstances) return;
      if (this.#hasPredecessor(slot)) continue;
      this.#waiting.delete(slot);
      turn.resolve();
    }
  }

  /** Whether the slot's previous process may still run; a start that was cut off may yet create one. */
  #hasPredecessor({ spec }: Slot): boolean {
    return this.#leaving.keys().some((old) => old.spec.key === spec.key && old.instance?.link.pid !== null);
  }

  #failed({ key, owner }: Spec, reason: string): void {
    this.#host.crashed(this.#failures.add(key, owner, reason));
  }

  /** Counts a call in, until `leave`; throws `overloaded` if too many are in flight. */
  enter(): void {
    if (this.inFlight >= maxInFlight) {
      throw faults.full(this.#host.server, `${maxInFlight} calls are already waiting for its answers`);
    }
    this.inFlight++;
    this.#busy.enter();
  }

  leave(): void {
    this.inFlight--;
    this.#busy.leave();
  }

  /** Keeps the server for a call of several requests, until the returned function is called. */
  hold(): () => void {
    this.#busy.enter();
    return () => this.#busy.leave();
  }

  /** Keeps an instance for a call, or for a caller that follows tasks, until `release`. */
  use(slot: Slot): void {
    slot.uses++;
  }

  release(slot: Slot): void {
    slot.uses--;
    slot.usedAt = this.#host.clock.mono();
  }

  /** Resolves when nothing is in flight and no call holds the server, after `ms` at the latest. */
  drained(ms: number): Promise<void> {
    return this.#busy.idle(ms);
  }

  /** Stops the instances that nobody has used for `ms`. */
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

  /** Stops an instance, even during its handshake, because all its callers have left. */
  desert(slot: Slot): void {
    void this.stop(slot);
    slot.deserted.abort();
  }

  async close(): Promise<void> {
    this.#failures.clear();
    await Promise.all([...this.#slots.values(), ...this.#leaving.keys()].map((slot) => this.stop(slot)));
  }
}
