import { type Clock, systemClock } from "./clock.ts";

/**
 * A map of at most `cap` entries: the least recently used one goes first; one untouched for `age` µs counts as gone.
 */
export type BoundedMap<V> = {
  get(key: string): V | undefined;
  set(key: string, value: V): void;
  delete(key: string): void;
  values(): V[];
  readonly size: number;
};

type BoundedMapOptions = { readonly cap: number; readonly age?: number; readonly clock?: Clock };

/** Uses within this time (µs) of the last do not count, so that an entry in constant use is not moved all the time. */
const fresh = 1_000_000;

type Slot<V> = { value: V; used: number };

/** Creates an empty bounded map; without an age, its entries never grow too old. */
export function createBoundedMap<V>({ cap, age = Infinity, clock = systemClock }: BoundedMapOptions): BoundedMap<V> {
  // The insertion order is the order of use: a used entry moves to the end.
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
