import { isDeepStrictEqual } from "node:util";
import type { Clock } from "./clock.ts";

/** Occurrences that were counted instead of recorded one by one; `first` and `last` are epoch µs. */
export type Counted<T> = {
  /** The facts that all of them share. */
  readonly all: T;
  readonly count: number;
  readonly first: number;
  readonly last: number;
};

/** Lets the first occurrences of each minute through and counts the rest, per key and kind. */
type Coalescer<T> = {
  /**
   * Returns true to record the occurrence now; otherwise counts it, and `due` returns the count at the end of the
   * window. The groups of a kind are counted separately, up to `maxGroups`.
   */
  take(key: string, kind: string, what: () => T, group?: string): boolean;
  /** Reports whether further occurrences of a key are only counted. */
  counts(key: string): boolean;
  /** Returns the counts of the windows that have ended, and with `all` also of those that have not. */
  due(all?: boolean): Counted<T>[];
};

type Window<T> = { start: number; used: number; readonly counts: Map<string, Counted<T>> };

const windowUs = 60_000_000;
const maxKeys = 10_000;
/** The maximum number of separate counts per key. */
const maxGroups = 64;

/** Returns the members that have the same value in both objects. */
export function common<T extends object>(a: T, b: T): Partial<T> {
  const others = new Map<string, unknown>(Object.entries(b));
  const isSame = ([name, value]: [string, unknown]): boolean => isDeepStrictEqual(others.get(name), value);
  return Object.fromEntries(Object.entries(a).filter(isSame)) as Partial<T>; // a part of `a`
}

/** Lets `free` occurrences of a key pass per minute; `join` reduces the others to the facts that they share. */
export function createCoalescer<T>(free: number, clock: Clock, join: (a: T, b: T) => T): Coalescer<T> {
  const windows = new Map<string, Window<T>>();

  /** Beyond the cap, all new keys share one window. */
  const nameOf = (key: string): string => (windows.size < maxKeys || windows.has(key) ? key : "");

  const newWindow = (): Window<T> => ({ start: clock.mono(), used: 0, counts: new Map() });

  return {
    take(key, kind, what, group = "") {
      const window = windows.getOrInsertComputed(nameOf(key), newWindow);
      if (window.used < free) {
        window.used += 1;
        return true;
      }
      const last = clock.now();
      const apart = `${kind} ${group}`;
      const name = window.counts.has(apart) || window.counts.size < maxGroups ? apart : kind;
      const earlier = window.counts.get(name);
      const all = earlier ? join(earlier.all, what()) : what();
      window.counts.set(name, { all, count: (earlier?.count ?? 0) + 1, first: earlier?.first ?? last, last });
      return false;
    },
    counts: (key) => (windows.get(nameOf(key))?.used ?? 0) >= free,
    due(all = false) {
      const now = clock.mono();
      const counted: Counted<T>[] = [];
      for (const [key, window] of windows) {
        if (!all && now - window.start < windowUs) continue;
        const ended = [...window.counts.values()];
        counted.push(...ended);
        // While a flood lasts, it is counted in one record a minute and nothing passes. Once it has slowed to `free` a
        // minute, occurrences are recorded one by one again, so that slow attempts cannot hide behind one burst.
        if (ended.reduce((sum, { count }) => sum + count, 0) <= free) windows.delete(key);
        window.counts.clear();
        window.start = now;
      }
      return counted;
    },
  };
}
