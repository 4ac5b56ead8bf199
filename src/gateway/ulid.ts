const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const pairs = Array.from({ length: 1024 }, (_, i) => alphabet.charAt(i >> 5) + alphabet.charAt(i & 31));
const half = 2 ** 40;

/**
 * Creates a generator of ULIDs (26 characters: 48 bits of time, 80 random) that strictly ascend, even while the clock
 * stands still or steps back. `now` returns epoch milliseconds.
 */
export function createUlid(now: () => number): () => string {
  let last = -1;
  let time = "";
  let high = 0;
  let low = 0;
  let highText = "";
  const seed = new Uint32Array(4);

  return () => {
    const ms = now();
    if (ms > last) {
      last = ms;
      time = alphabet.charAt((ms / half) >> 5) + alphabet.charAt((ms / half) & 31) + base32(ms % half);
      crypto.getRandomValues(seed);
      // The top bit stays clear to leave room for counting up within one millisecond.
      high = ((seed[0] ?? 0) & 0x7f) * 2 ** 32 + (seed[1] ?? 0);
      low = ((seed[2] ?? 0) & 0xff) * 2 ** 32 + (seed[3] ?? 0);
      highText = base32(high);
    } else if (++low === half) {
      low = 0;
      highText = base32(++high);
    }
    return time + highText + base32(low);
  };
}

/** Encodes 40 bits as eight characters. */
function base32(value: number): string {
  const upper = Math.floor(value / 2 ** 20);
  const lower = value % 2 ** 20;
  return `${pairs[upper >> 10]}${pairs[upper & 1023]}${pairs[lower >> 10]}${pairs[lower & 1023]}`;
}
