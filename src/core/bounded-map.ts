import { type Clock, systemClock } from "./clock.ts";

/** A map of at most `cap` entries with LRU eviction. An entry that has not been used for `age` µs counts as absent. */
export type BoundedMap<V> = {
  get(key: string): V | undefined;
  set(key: string, value: V): void;
  delete(key: string): void;
  values(): V[];
  readonly size: number;
};

type BoundedMapOptions = { readonly cap: number; readonly age?: number; readonly clock?: Clock };

/** A use within this time (µs) of the last one does not move an entry, so that a busy entry is not moved every time. */
const fresh = 1_000_000;

type Slot<V> = { value: V; used: number };

/** Creates an empty bounded map. Without `age`, entries do not expire. */
export function createBoundedMap<V>({ cap, age = Infinity, clock = systemClock }: BoundedMapOptions): BoundedMap<V> {
  // Insertion order is order of use: an entry that is used moves to the end.
  const slots = new Map<string, Slot<V>>();
  const place = (key: string, slot: Slot<V>): void => {
    slots.delete(key);
    slots.set(key, slot);
  };
  const shrink = (now: number): void => {
    for (const [key, slot] of slots) {
      if (slots.size <= cap && now - slot.used <= age) return;
      slots.delete(key);
    }
  };
  return {
    get(key) {
      const slot = slots.get(key);
      const now = clock.mono();
      if (!slot || now - slot.used > age) return undefined;
      if (now - slot.used > fresh) {
        slot.used = now;
        place(key, slot);
      }
      return slot.value;
    },
    set(key, value) {
      const now = clock.mono();
      place(key, { value, used: now });
      shrink(now);
    },
    delete: (key) => void slots.delete(key),
    values: () => [...slots.values()].map(({ value }) => value),
    get size() {
      return slots.size;
    },
  };
}
