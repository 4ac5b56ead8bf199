import { randomBytes } from "node:crypto";
import type { Call, Reply } from "../core/call.ts";
import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";
import { answerTime, type InputMethod } from "../core/inbound.ts";

/** Throws where the rules, as they are now, forbid that a server is answered this. */
export type Admit = (server: string, method: InputMethod) => void;

/** A call that waits until its caller comes back with answers. */
export type ParkedCall = {
  /** Principal id; nobody else gets it back. */
  readonly owner: string;
  /** Characters that it keeps in memory while it waits. */
  readonly weight: number;
  /** Goes on with answers by key (raw JSON) and resolves with what comes next; gives its place back itself. */
  resume(call: Call, responses: ReadonlyMap<string, string>, admit: Admit): Promise<Reply>;
  /** Ends it with this failure, unless it has ended by itself. Resolves when that is on record. */
  expire(failure: Failure): Promise<void>;
};

export type ParkingLimits = {
  readonly total: number;
  readonly perOwner: number;
  /** Characters of all of them together. */
  readonly weight: number;
  readonly ageMs: number;
};

const usual: ParkingLimits = { total: 1_000, perOwner: 16, weight: 64 * 1024 ** 2, ageMs: answerTime };

type Slot = { readonly parked: ParkedCall; weight: number; readonly timer: Timer };

/** The calls of this process that wait for their callers: bounded, expiring, each handle good for one return. */
export class Parking {
  readonly #places = new Map<string, Slot>();
  readonly #perOwner = new Counts();
  readonly #limits: ParkingLimits;
  #weight = 0;
  #closed = false;

  constructor(limits: ParkingLimits = usual) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#places.size;
  }

  /** Keeps a call under a new handle. Throws `overloaded` when all places, or all of its owner's, are taken. */
  park(parked: ParkedCall): string {
    const { total, perOwner, ageMs } = this.#limits;
    const { weight } = parked;
    if (this.#closed) throw new Failure("overloaded", "The gateway stops; no call can wait for answers any more.");
    if (this.#places.size >= total) throw full(`All ${total} places`);
    if (this.#perOwner.of(parked.owner) >= perOwner) throw full(`All of your ${perOwner} places`);
    if (this.#weight + weight > this.#limits.weight) throw full("All the room");
    const id = randomBytes(18).toString("base64url");
    const timer = setTimeout(() => void this.#expire(id, late(ageMs)), ageMs);
    timer.unref();
    this.#places.set(id, { parked, weight, timer });
    this.#weight += weight;
    this.#perOwner.add(parked.owner);
    return id;
  }

  /** Changes the weight that a parked call counts with; throws `overloaded` where there is no room for more. */
  grow(id: string, by: number): void {
    const place = this.#places.get(id);
    if (!place) return;
    if (by > 0 && this.#weight + by > this.#limits.weight) throw full("All the room");
    place.weight += by;
    this.#weight += by;
  }

  /** The call under a handle, which stays where it is; null for an owner that it does not belong to. */
  find(id: string, owner: string): ParkedCall | null {
    const parked = this.#places.get(id)?.parked;
    return parked?.owner === owner ? parked : null;
  }

  /** Gives the place back: the handle is worth nothing any more. */
  release(id: string): void {
    const place = this.#places.get(id);
    if (!place) return;
    clearTimeout(place.timer);
    this.#places.delete(id);
    this.#weight -= place.weight;
    this.#perOwner.add(place.parked.owner, -1);
  }

  /** Ends all that waits and takes in no more: nobody can come back to a process that stops. */
  async close(): Promise<void> {
    this.#closed = true;
    const stops = new Failure("lost", "The gateway stopped while the call waited for answers. The call may have run.");
    await Promise.all([...this.#places.keys()].map((id) => this.#expire(id, stops)));
  }

  async #expire(id: string, failure: Failure): Promise<void> {
    const parked = this.#places.get(id)?.parked;
    this.release(id);
    await parked?.expire(failure);
  }
}

const full = (places: string): Failure =>
  new Failure("overloaded", `${places} for calls that wait for answers: taken; answer or wait, then try again.`);

const late = (ageMs: number): Failure =>
  new Failure(
    "lost",
    `Its questions were not answered within ${Math.ceil(ageMs / 60_000)} minutes, so the call was ended. It may have run.`,
  );
