/**
 * Returns the name closest to a misspelled one; of equally close names, one that starts with it. If none is close,
 * returns the only name that starts with it, provided it has more than one letter; else null.
 */
export function nearest(text: string, names: readonly string[]): string | null {
  const wanted = fold(text);
  const begun = names.filter((name) => fold(name).startsWith(wanted));
  let best: string | null = null;
  let least = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const name of [...begun, ...names]) {
    const far = distance(wanted, fold(name), least);
    if (far >= least) continue;
    least = far;
    best = name;
  }
  if (best !== null) return best;
  return wanted.length > 1 && begun.length === 1 ? (begun[0] ?? null) : null;
}

function fold(text: string): string {
  return text
    .slice(0, 64)
    .toLowerCase()
    .replace(/[-_\s]/g, "");
}

// Edit distance of two texts (insert, delete, replace, swap neighbors), capped at `max`.
function distance(a: string, b: string, max: number): number {
  if (Math.abs(a.length - b.length) >= max) return max;
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const swap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const edit = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + (same ? 0 : 1));
      row.push(swap ? Math.min(edit, at(before, j - 2) + 1) : edit);
    }
    before = last;
    last = row;
  }
  return Math.min(max, at(last, b.length));
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Infinity;
}
