import type { Rate } from "../core/rate.ts";

const minuteUs = 60_000_000;

/** A token bucket; `at` is the monotonic time in µs at which `tokens` was current. */
export type Bucket = { tokens: number; at: number };

/** Returns a full bucket, for a caller that was never seen before. */
export const fullBucket = ({ burst }: Rate, now: number): Bucket => ({ tokens: burst, at: now });

/**
 * Refills the bucket up to now. In any window of length t, a bucket admits at most burst + rate × t calls. If the rate
 * changes, used tokens stay used.
 */
export function refill(bucket: Bucket, rate: Rate, now: number): void {
  bucket.tokens = Math.min(rate.burst, bucket.tokens + ((now - bucket.at) * rate.perMinute) / minuteUs);
  bucket.at = now;
}

/** Returns the milliseconds until the bucket holds a token: 0 if it does, Infinity if it never will. */
export function waitFor(bucket: Bucket, rate: Rate): number {
  if (rate.perMinute === 0) return Infinity;
  return bucket.tokens >= 1 ? 0 : Math.max(1, Math.ceil(((1 - bucket.tokens) * minuteUs) / rate.perMinute / 1000));
}
