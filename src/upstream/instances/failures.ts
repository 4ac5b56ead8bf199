import type { Clock } from "../../core/clock.ts";
import type { Down } from "../../core/upstream.ts";
import { type Breaker, type BreakerOptions, createBreaker } from "../breaker.ts";

/** Most keys whose failures are remembered. */
const most = 1024;

type Failing = Down & { readonly breaker: Breaker };

/** The instances that failed, by their keys: why each ended, and when it may be started again. */
export class Failures {
  readonly #options: BreakerOptions;
  readonly #clock: Clock;
  readonly #failing = new Map<string, Failing>();
  /** The number of all failures so far. */
  count = 0;

  constructor(options: BreakerOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** Milliseconds until the instance of a key may be started again. */
  wait(key: string): number {
    return this.#failing.get(key)?.breaker.wait() ?? 0;
  }

  add(key: string, owner: string | null, reason: string): Down {
    this.count++;
    const breaker = this.#failing.get(key)?.breaker ?? createBreaker(this.#options, this.#clock.mono);
    const { wait, open } = breaker.failed();
    // Set last, so that the first entry is the one that failed longest ago.
    this.#failing.delete(key);
    const [oldest] = this.#failing.keys();
    if (oldest !== undefined && this.#failing.size >= most) this.#failing.delete(oldest);
    const failing = { owner, reason, until: this.#now() + Math.round(wait), open, breaker };
    this.#failing.set(key, failing);
    return failing;
  }

  /** The instances that failed lately and do not run again. */
  down(runs: (key: string) => boolean): Down[] {
    const since = this.#now() - this.#options.window;
    return [...this.#failing]
      .filter(([key, { until }]) => until > since && !runs(key))
      .map(([, { owner, reason, until, open }]) => ({ owner, reason, until, open }));
  }

  clear(): void {
    this.#failing.clear();
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
