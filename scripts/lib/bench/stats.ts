import type { Sample } from "./load.ts";

/** Returns the sample of a run that began at `started`, on the clock of `performance`, and ends now. */
export function sampleOf(latencies: readonly number[], started: number, errors: number): Sample {
  const seconds = (performance.now() - started) / 1000;
  return { rate: latencies.length / seconds, p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), errors };
}

/** Returns the value below which this share of all values lies; NaN if there are none. */
export function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;
}

/** Returns the median, the mean of the middle two for an even number; NaN if there are none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  if (Number.isInteger(half)) return ((sorted[half - 1] ?? Number.NaN) + (sorted[half] ?? Number.NaN)) / 2;
  return sorted[Math.floor(half)] ?? Number.NaN;
}

/** Returns the median of each figure; errors are added up. */
export function medians(samples: readonly Sample[]): Sample {
  const of = (pick: (sample: Sample) => number): number => median(samples.map(pick));
  return {
    rate: of(({ rate }) => rate),
    p50: of(({ p50 }) => p50),
    p99: of(({ p99 }) => p99),
    errors: samples.reduce((sum, { errors }) => sum + errors, 0),
  };
}
