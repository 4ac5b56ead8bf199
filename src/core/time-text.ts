/** Formats epoch µs as `2026-01-31T08:00:00.123456Z`. */
export function timeText(at: number): string {
  return createTimeText()(at);
}

/** Parses the output of `timeText` to epoch µs; NaN for anything else. */
export function timeOf(text: string): number {
  return Date.parse(`${text.slice(0, 19)}Z`) * 1000 + Number(text.slice(20, 26));
}

// Years outside 0000–9999 would change the length of the text, and so its sort order.
const earliest = Date.parse("0000-01-01");
const latest = Date.parse("9999-12-31");

/** Returns a `timeText` that caches the text of the last second, for times in order. */
export function createTimeText(): (at: number) => string {
  let second = Number.NaN;
  let text = "";
  return (at) => {
    const now = Math.floor(at / 1_000_000);
    if (now !== second) {
      second = now;
      text = new Date(Math.min(Math.max(now * 1000, earliest), latest)).toISOString().slice(0, 20);
    }
    return `${text}${String(at - now * 1_000_000).padStart(6, "0")}Z`;
  };
}
