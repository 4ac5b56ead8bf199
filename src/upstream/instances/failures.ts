import { type BoundedMap, createBoundedMap } from "../../core/bounded-map.ts";
import type { Clock } from "../../core/clock.ts";
import type { Down } from "../../core/upstream.ts";
import { type Breaker, type BreakerOptions, createBreaker } from "../breaker.ts";

/** The maximum number of keys whose failures are remembered. */
const most = 1024;

/** `until` is in µs of the monotonic clock, because the wall clock can be set. */
type Failing = Down & { readonly key: string; readonly breaker: Breaker };

/** The instances that failed, by key: why each ended, and when it may be started again. */
export class Failures {
  readonly #options: BreakerOptions;
  readonly #clock: Clock;
  #failing: BoundedMap<Failing>;
  /** The number of failures so far. */
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

  /** Records a failure. `opened`: this failure opened the circuit. */
  add(key: string, owner: string | null, reason: string): Down & { readonly opened: boolean } {
    this.count++;
    const breaker = this.#failing.get(key)?.breaker ?? createBreaker(this.#options, this.#clock.mono);
    const { wait, open, opened } = breaker.failed();
    const failing = { key, owner, reason, until: this.#clock.mono() + wait * 1000, open, breaker };
    this.#failing.set(key, failing);
    return { ...this.#told(failing), opened };
  }

  /** Returns the instances that failed recently and are not running again. */
  down(runs: (key: string) => boolean): Down[] {
    const since = this.#clock.mono() - this.#options.window * 1000;
    const lately = this.#failing.values().filter(({ key, until }) => until > since && !runs(key));
    return lately.map((failing) => this.#told(failing));
  }

  clear(): void {
    this.#failing = createBoundedMap({ cap: most, clock: this.#clock });
  }

  #told({ owner, reason, until, open }: Failing): Down {
    const left = until - this.#clock.mono();
    return { owner, reason, until: Math.round((this.#clock.now() + left) / 1000), open };
  }
}

/** Describes these instances in one line that names no caller; null if there are none. `now` is epoch ms. */
export function downText(down: readonly Down[], now: number): string | null {
  const last = down.toSorted((a, b) => a.until - b.until).at(-1);
  if (!last) return null;
  const one = last.owner === null ? "the shared instance is" : "one caller's instance is";
  const until = last.until > now ? new Date(last.until).toISOString() : "its next call";
  return `${down.length > 1 ? `${down.length} callers' instances are` : one} down until ${until}: ${last.reason}`;
}
