/** A rate and the size of its token bucket. */
export type Rate = { readonly perMinute: number; readonly burst: number };

/** Returns a rate with a burst of at least one call: with a smaller one, a rate below 1/m would never admit a call. */
export const toRate = (perMinute: number, burst: number = perMinute): Rate => ({
  perMinute,
  burst: perMinute === 0 ? 0 : Math.max(1, burst),
});

const times = { s: 60, m: 1, h: 1 / 60 } as const;

/** Returns the calls per minute of `120/m`, `2/s` or `1000/h`; null if the text is not a rate. */
export function parseRate(text: string): number | null {
  const match = /^(\d{1,9})\/([smh])$/.exec(text);
  return match ? Number(match[1]) * times[match[2] as keyof typeof times] : null;
}

/** Returns calls per minute, or calls per hour if that is not a whole number. */
function counted(perMinute: number): { readonly calls: number; readonly hour: boolean } {
  const hour = !Number.isInteger(perMinute);
  return { calls: hour ? Math.round(perMinute * 6000) / 100 : perMinute, hour };
}

/** Formats a rate as options spell it: `120/m`, `5/h`. */
export function formatRate(perMinute: number): string {
  const { calls, hour } = counted(perMinute);
  return `${calls}/${hour ? "h" : "m"}`;
}

/** Formats a rate in words: `120 calls a minute`, `5 calls an hour`. */
export function rateText(perMinute: number): string {
  const { calls, hour } = counted(perMinute);
  return `${calls} ${calls === 1 ? "call" : "calls"} ${hour ? "an hour" : "a minute"}`;
}
