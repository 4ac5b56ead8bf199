import { type BoundedMap, createBoundedMap } from "../../core/bounded-map.ts";
import type { Clock } from "../../core/clock.ts";
import type { Down } from "../../core/upstream.ts";
import { type Breaker, type BreakerOptions, createBreaker } from "../breaker.ts";

/** Most keys whose failures are remembered. */
const most = 1024;

type Failing = { readonly key: string; readonly down: Down; readonly breaker: Breaker };

/** The instances that failed, by their keys: why each ended, and when it may be started again. */
export class Failures {
  readonly #options: BreakerOptions;
  readonly #clock: Clock;
  #failing: BoundedMap<Failing>;
  /** The number of all failures so far. */
  count = 0;

  constructor(options: BreakerOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
    this.#failing = createBoundedMap({ cap: most, clock });
  }

  /** Milliseconds until the instance of a key may be started again. */
  wait(key: string): number {
    return this.#failing.get(key)?.breaker.wait() ?? 0;
  }

  add(key: string, owner: string | null, reason: string): Down {
    this.count++;
    const breaker = this.#failing.get(key)?.breaker ?? createBreaker(this.#options, this.#clock.mono);
    const { wait, open } = breaker.failed();
    const down = { owner, reason, until: this.#now() + Math.round(wait), open };
    this.#failing.set(key, { key, down, breaker });
    return down;
  }

  /** The instances that failed lately and do not run again. */
  down(runs: (key: string) => boolean): Down[] {
    const since = this.#now() - this.#options.window;
    const lately = this.#failing.values().filter(({ key, down }) => down.until > since && !runs(key));
    return lately.map(({ down }) => down);
  }

  clear(): void {
    this.#failing = createBoundedMap({ cap: most, clock: this.#clock });
  }

  /** Epoch ms. */
  #now(): number {
    return Math.floor(this.#clock.now() / 1000);
  }
}

/** These instances in one line that names no caller; null when there are none. `now` is epoch ms. */
export function downText(down: readonly Down[], now: number): string | null {
  const last = down.toSorted((a, b) => a.until - b.until).at(-1);
  if (!last) return null;
  const one = last.owner === null ? "the instance that callers share is" : "one caller's instance is";
  const until = last.until > now ? new Date(last.until).toISOString() : "its next call";
  return `${down.length > 1 ? `${down.length} callers' instances are` : one} down until ${until}: ${last.reason}`;
}
