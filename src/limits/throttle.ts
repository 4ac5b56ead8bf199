import { type BoundedMap, createBoundedMap } from "../core/bounded-map.ts";
import { peerKey } from "../core/cidr.ts";
import type { Clock } from "../core/clock.ts";
import type { Throttle } from "../core/ports.ts";
import type { Source } from "../core/principal.ts";

const minuteUs = 60_000_000;
const tolerated = 10;
const firstBlockUs = 1_000_000;
const maxBlockUs = minuteUs;
const maxSources = 10_000;

type Strikes = { failures: number; since: number; until: number };

/** Failures of sources by peer; bounded, so that many addresses cannot fill the memory. */
export type Failures = BoundedMap<Strikes>;

/** Creates the failure counts that all throttles of a process share. */
export const createFailures = (clock: Clock): Failures =>
  createBoundedMap<Strikes>({ cap: maxSources, age: 2 * minuteUs, clock });

const keyOf = ({ ip, transport }: Source): string => (ip === null ? transport : peerKey(ip));

/**
 * Blocks a source after 10 failures within a minute: for 1 s, then twice as long with each further failure, up to 60 s.
 * A quiet minute after the block clears the count.
 */
export function createThrottle(failures: Failures, clock: Clock): Throttle {
  return {
    blockedFor(source) {
      const until = failures.get(keyOf(source))?.until ?? 0;
      return Math.max(0, Math.ceil((until - clock.mono()) / 1000));
    },
    failed(source) {
      const now = clock.mono();
      const key = keyOf(source);
      const old = failures.get(key);
      const strikes =
        old && now - Math.max(old.since, old.until) <= minuteUs ? old : { failures: 0, since: now, until: 0 };
      strikes.failures++;
      const over = strikes.failures - tolerated;
      if (over > 0) strikes.until = now + Math.min(maxBlockUs, firstBlockUs * 2 ** (over - 1));
      failures.set(key, strikes);
    },
  };
}
