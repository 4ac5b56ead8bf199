/** Requests per minute and the size of the bucket they are taken from. */
export type Rate = { readonly perMinute: number; readonly burst: number };

/**
 * A rate and its burst. The burst is at least one call: with a smaller one, a rate below one a minute would never admit
 * any.
 */
export const toRate = (perMinute: number, burst: number = perMinute): Rate => ({
  perMinute,
  burst: perMinute === 0 ? 0 : Math.max(1, burst),
});

const times = { s: 60, m: 1, h: 1 / 60 } as const;

/** Calls per minute of `120/m`, `2/s`, `1000/h`; null when the text is none of these. */
export function parseRate(text: string): number | null {
  const match = /^(\d{1,9})\/([smh])$/.exec(text);
  return match ? Number(match[1]) * times[match[2] as keyof typeof times] : null;
}

/** Calls a minute, or where that is no whole number, calls an hour. */
function counted(perMinute: number): { readonly calls: number; readonly hour: boolean } {
  const hour = !Number.isInteger(perMinute);
  return { calls: hour ? Math.round(perMinute * 6000) / 100 : perMinute, hour };
}

/** A rate as options spell it: `120/m`, `5/h`. */
export function formatRate(perMinute: number): string {
  const { calls, hour } = counted(perMinute);
  return `${calls}/${hour ? "h" : "m"}`;
}

/** A rate in words: `120 calls a minute`, `5 calls an hour`. */
export function rateText(perMinute: number): string {
  const { calls, hour } = counted(perMinute);
  return `${calls} ${calls === 1 ? "call" : "calls"} ${hour ? "an hour" : "a minute"}`;
}
