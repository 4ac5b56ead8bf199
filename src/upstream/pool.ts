import type { Clock } from "../core/clock.ts";
import { type Breaker, type BreakerOptions, createBreaker } from "./breaker.ts";
import { faults, reasonOf } from "./faults.ts";
import type { Link, Peer } from "./link.ts";

/** A link whose handshake is done. */
export type Instance = { readonly link: Link; readonly peer: Peer };

/** The instance of one key, started or starting. */
export type Slot = {
  readonly key: string;
  readonly starting: Promise<Instance>;
  instance: Instance | null;
  inFlight: number;
  /** Its health is being checked because a call timed out. */
  suspected: boolean;
  /** Monotonic µs of the last use. */
  usedAt: number;
};

export type PoolHost = {
  readonly server: string;
  readonly clock: Clock;
  readonly breaker: BreakerOptions;
  start(key: string): Promise<Instance>;
  /** An instance ended without being asked to. */
  crashed(reason: string): void;
};

/** Calls in flight to one server; far below what Bun's fetch takes in all, so that one server never blocks others. */
const mostInFlight = 1024;
/** Failures are remembered of this many keys at most. */
const mostBreakers = 1024;

/** The instances of a server, one per key; a key is a principal, so nothing of one caller reaches another. */
export class Pool {
  readonly #host: PoolHost;
  readonly #slots = new Map<string, Slot>();
  readonly #breakers = new Map<string, Breaker>();
  readonly #idle = new Set<() => void>();
  #inFlight = 0;

  constructor(host: PoolHost) {
    this.#host = host;
  }

  get size(): number {
    return this.#slots.size;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get pids(): number[] {
    return [...this.#slots.values()].flatMap(({ instance }) => instance?.link.pid ?? []);
  }

  find(key: string): Slot | undefined {
    return this.#slots.get(key);
  }

  /** Starts the instance of a key; throws `upstream-overloaded` beyond `most`, `upstream-down` soon after a crash. */
  open(key: string, most: number, until: AbortSignal | null): Slot {
    const { server, clock } = this.#host;
    if (until?.aborted) throw faults.cancelled();
    const wait = this.#breakers.get(key)?.wait() ?? 0;
    if (wait > 0) throw faults.down(server, "it ended unexpectedly and is about to be restarted", wait);
    if (this.#slots.size >= most) throw faults.overloaded(server, `all of its ${most} instances are in use by others`);
    const slot: Slot = {
      key,
      starting: this.#host.start(key),
      instance: null,
      inFlight: 0,
      suspected: false,
      usedAt: clock.mono(),
    };
    this.#slots.set(key, slot);
    // Who loses its key loses what was started for it.
    const stop = (): void => void this.stop(slot);
    until?.addEventListener("abort", stop, { once: true });
    void this.#follow(slot).finally(() => until?.removeEventListener("abort", stop));
    return slot;
  }

  async #follow(slot: Slot): Promise<void> {
    try {
      const instance = await slot.starting;
      slot.instance = instance;
      const end = await instance.link.ended;
      if (this.#forget(slot) && !end.asked) this.#failed(slot.key, end.reason);
    } catch (error) {
      if (this.#forget(slot)) this.#failed(slot.key, reasonOf(error));
    }
  }

  /** False when it was given up before. */
  #forget(slot: Slot): boolean {
    return this.#slots.get(slot.key) === slot && this.#slots.delete(slot.key);
  }

  #failed(key: string, reason: string): void {
    let breaker = this.#breakers.get(key);
    if (!breaker) {
      for (const oldest of this.#breakers.keys()) {
        if (this.#breakers.size < mostBreakers) break;
        this.#breakers.delete(oldest);
      }
      this.#breakers.set(key, (breaker = createBreaker(this.#host.breaker, this.#host.clock.mono)));
    }
    breaker.failed();
    this.#host.crashed(reason);
  }

  /** Counts a call in; throws `upstream-overloaded` when too many are in flight. Each is followed by `release`. */
  enter(slot: Slot): void {
    if (this.#inFlight >= mostInFlight) {
      throw faults.overloaded(this.#host.server, `${mostInFlight} calls wait for its answers`);
    }
    this.#inFlight++;
    slot.inFlight++;
  }

  release(slot: Slot): void {
    this.#inFlight--;
    slot.inFlight--;
    slot.usedAt = this.#host.clock.mono();
    if (this.#inFlight > 0) return;
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }

  /** Resolves when nothing is in flight, at the latest after `ms`. */
  async drained(ms: number): Promise<void> {
    if (this.#inFlight === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle.add(resolve);
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
    this.#idle.delete(resolve);
  }

  /** Stops what nobody used for `ms`. */
  sweep(ms: number): void {
    const before = this.#host.clock.mono() - ms * 1000;
    for (const slot of this.#slots.values()) {
      if (slot.instance && slot.inFlight === 0 && slot.usedAt < before) void this.stop(slot);
    }
  }

  async stop(slot: Slot): Promise<void> {
    this.#forget(slot);
    const instance = await slot.starting.catch(() => null);
    await instance?.link.close();
  }

  async close(): Promise<void> {
    this.#breakers.clear();
    await Promise.all([...this.#slots.values()].map((slot) => this.stop(slot)));
  }
}
