import { randomBytes } from "node:crypto";
import { onAbort } from "../../core/cancel.ts";
import type { Reply, Route, RoutedCall } from "../../core/call.ts";
import { after } from "../../core/clock.ts";
import { Counts } from "../../core/counts.ts";
import { Failure } from "../../core/failure.ts";
import { answerTimeoutMs } from "../../core/inbound.ts";
import type { Policy } from "../../core/ports.ts";

/** A call that waits for its caller's answers. */
export type ParkedCall = {
  /** Principal id; only this principal can resume the call. */
  readonly owner: string;
  /** The route that its caller used last, because a reload may rename the tool between two answers. */
  readonly route: Route;
  /** The endpoint that its caller used last. */
  readonly scope: string | null;
  /** Characters that it holds in memory while it waits. */
  readonly weight: number;
  /**
   * Continues with these answers (raw JSON by key) if the current rules allow them. Resolves with the next reply. The
   * call itself gives its place back.
   */
  resume(call: RoutedCall, responses: ReadonlyMap<string, string>, policy: Policy): Promise<Reply>;
  /** Ends the call with this failure, unless it has already ended. Resolves when its end is recorded. */
  expire(failure: Failure): Promise<void>;
};

export type ParkingLimits = {
  readonly total: number;
  readonly perOwner: number;
  /** Maximum characters held by all waiting calls; one owner may hold half of that, or more with a single call. */
  readonly weight: number;
  readonly ageMs: number;
};

const usual: ParkingLimits = { total: 1_000, perOwner: 16, weight: 64 * 1024 ** 2, ageMs: answerTimeoutMs };

type Place = { readonly parked: ParkedCall; weight: number; unwatch: () => void };

/** The calls of this process that wait for answers, limited in number, size and age. Each id works only once. */
export class Parking {
  readonly #places = new Map<string, Place>();
  readonly #perOwner = new Counts();
  readonly #weights = new Counts();
  readonly #limits: ParkingLimits;
  /** Number of questions refused because there was no place for them, or because they were too long or too many. */
  refused = 0;
  #closed = false;

  constructor(limits: ParkingLimits = usual) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#places.size;
  }

  /** Keeps a call and returns its id. Throws `overloaded` if there is no place left, in total or for the owner. */
  park(parked: ParkedCall): string {
    const { total, perOwner, ageMs } = this.#limits;
    const { weight } = parked;
    if (this.#closed) throw new Failure("overloaded", "The gateway is stopping; calls can no longer wait for answers.");
    if (this.#places.size >= total) throw this.#full("Too many calls are", total);
    if (this.#perOwner.of(parked.owner) >= perOwner) throw this.#full("Too many of your calls are", perOwner);
    this.#needRoom(parked.owner, weight);
    const id = randomBytes(18).toString("base64url");
    const unwatch = after(ageMs, () => void this.expire(id, late(ageMs)));
    this.#places.set(id, { parked, weight, unwatch });
    this.#weights.add(parked.owner, weight);
    this.#perOwner.add(parked.owner);
    return id;
  }

  /** Changes the weight of a parked call; throws `overloaded` if there is no room left. */
  grow(id: string, by: number): void {
    const place = this.#places.get(id);
    if (!place) return;
    const { owner } = place.parked;
    if (by > 0) this.#needRoom(owner, by, place.weight);
    place.weight += by;
    this.#weights.add(owner, by);
  }

  /** Returns the call with this id, which keeps its place; null if there is none or it belongs to another owner. */
  find(id: string, owner: string): ParkedCall | null {
    const parked = this.#places.get(id)?.parked;
    return parked?.owner === owner ? parked : null;
  }

  /** Gives the place back; the id is no longer valid. */
  release(id: string): void {
    const place = this.#places.get(id);
    if (!place) return;
    place.unwatch();
    this.#places.delete(id);
    this.#weights.add(place.parked.owner, -place.weight);
    this.#perOwner.add(place.parked.owner, -1);
  }

  /** Gives the place of an ended call back when its owner loses its rights. */
  releaseOnLoss(id: string, revoked: AbortSignal): void {
    const place = this.#places.get(id);
    if (!place) return;
    const stopTimer = place.unwatch;
    const stop = onAbort(revoked, () => this.release(id));
    place.unwatch = () => {
      stopTimer();
      stop();
    };
  }

  /** Ends all waiting calls and accepts no more, because callers cannot come back to a stopped process. */
  async close(): Promise<void> {
    this.#closed = true;
    const stops = new Failure("lost", "The gateway stopped while the call waited for answers. The call may have run.");
    await Promise.all([...this.#places.keys()].map((id) => this.expire(id, stops)));
  }

  /** Ends a waiting call and gives its place back. Resolves when its end is recorded. */
  async expire(id: string, failure: Failure): Promise<void> {
    const parked = this.#places.get(id)?.parked;
    this.release(id);
    await parked?.expire(failure);
  }

  /** Throws `overloaded` if there is no room for `more` characters of a call that already holds `own`. */
  #needRoom(owner: string, more: number, own = 0): void {
    const { weight } = this.#limits;
    if (this.#weights.total + more > weight) throw this.#full("Too much data is", `${weight} characters`);
    const held = this.#weights.of(owner);
    if (held > own && held + more > weight / 2)
      throw this.#full("Too much data of your calls is", `${weight / 2} characters`);
  }

  #full(what: string, limit: number | string): Failure {
    return new Failure(
      "overloaded",
      `${what} waiting for answers (limit ${limit}). Answer a call, or try again later.`,
    );
  }
}

const late = (ageMs: number): Failure =>
  new Failure(
    "lost",
    `Its questions were not answered within ${Math.ceil(ageMs / 60_000)} minutes, so the call was ended. It may have run.`,
  );
