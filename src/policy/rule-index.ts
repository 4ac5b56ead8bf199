import { onlyText } from "../core/glob.ts";
import type { Readings } from "../core/uri-readings.ts";

/** What is found: `beginnings` are the literal beginnings of the URIs that it is about. */
type Indexed = { readonly beginnings: readonly string[] };

/** Those that may be about a URI with these readings, in order; all if there are none. */
export type About<Rule> = (readings: Readings | null) => readonly Rule[];

/**
 * Finds rules by the literal beginnings of their globs. Callers choose the URIs of resources, so one must not cost a look
 * at every rule.
 */
export function indexRules<Rule extends Indexed>(rules: readonly Rule[]): About<Rule> {
  const byBeginning = new Map<string, Set<number>>();
  for (const [index, { beginnings }] of rules.entries())
    for (const beginning of beginnings)
      byBeginning.set(beginning, (byBeginning.get(beginning) ?? new Set<number>()).add(index));
  const lengths = [...new Set(byBeginning.keys().map((beginning) => beginning.length))];
  return (readings) => {
    const texts = readings?.map(onlyText) ?? [null];
    const found = new Set<number>();
    for (const text of texts) {
      if (text === null) return rules;
      for (const length of lengths) {
        if (length > text.length) continue;
        for (const index of byBeginning.get(text.slice(0, length)) ?? []) found.add(index);
      }
    }
    return [...found].toSorted((a, b) => a - b).flatMap((index) => rules[index] ?? []);
  };
}
