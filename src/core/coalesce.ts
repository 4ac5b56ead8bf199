import { isDeepStrictEqual } from "node:util";
import type { Clock } from "./clock.ts";

/** Occurrences that were counted instead of recorded one by one; `first` and `last` are when, epoch µs. */
export type Counted<T> = {
  /** What is true of all of them. */
  readonly all: T;
  readonly count: number;
  readonly first: number;
  readonly last: number;
};

/** Lets the first occurrences of a minute through and counts the rest, per key and kind. */
type Coalescer<T> = {
  /**
   * True: record it now. False: it is counted, and comes out of `due` at the end of its window. The groups of a kind
   * are counted apart from each other, as long as they are few.
   */
  take(key: string, kind: string, what: () => T, group?: string): boolean;
  /** Whether further occurrences of a key are only counted. */
  counts(key: string): boolean;
  /** What was counted in windows that have ended; `all` also ends those that have not. */
  due(all?: boolean): Counted<T>[];
};

type Window<T> = { start: number; used: number; readonly counts: Map<string, Counted<T>> };

const windowUs = 60_000_000;
const maxKeys = 10_000;
/** Of one key, what is counted apart. */
const maxGroups = 64;

/** The members that have the same value in both. */
export function common<T extends object>(a: T, b: T): Partial<T> {
  const others = new Map<string, unknown>(Object.entries(b));
  const isSame = ([name, value]: [string, unknown]): boolean => isDeepStrictEqual(others.get(name), value);
  return Object.fromEntries(Object.entries(a).filter(isSame)) as Partial<T>; // a part of `a`
}

/** `free` occurrences of a key pass per window of a minute; of the others `join` says what is true of both. */
export function createCoalescer<T>(free: number, clock: Clock, join: (a: T, b: T) => T): Coalescer<T> {
  const windows = new Map<string, Window<T>>();

  /** Beyond the cap all new keys share one window. */
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
        // A flood goes on being counted: one record a minute, none let through in between. What has become rarer than
        // that is recorded one by one again, so that nobody hides slow attempts behind one burst.
        if (ended.reduce((sum, { count }) => sum + count, 0) <= free) windows.delete(key);
        window.counts.clear();
        window.start = now;
      }
      return counted;
    },
  };
}
