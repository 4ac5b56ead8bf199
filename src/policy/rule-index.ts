import { byPrefix } from "../core/by-prefix.ts";
import { onlyText } from "../core/glob.ts";
import type { Readings } from "../core/uri-readings.ts";

/** Those that may be about a URI with these readings, in order; all if there are none. */
export type About<Rule> = (readings: Readings | null) => readonly Rule[];

/**
 * Finds rules by the literal beginnings of the URIs that they are about. Callers choose the URIs of resources, so one
 * must not cost a look at every rule.
 */
export function indexRules<Rule extends { readonly beginnings: readonly string[] }>(
  rules: readonly Rule[],
): About<Rule> {
  const groupsOf = byPrefix(rules.flatMap(({ beginnings }, at) => beginnings.map((prefix) => ({ prefix, at }))));
  return (readings) => {
    const texts = readings?.map(onlyText) ?? [null];
    const found = new Set<number>();
    for (const text of texts) {
      if (text === null) return rules;
      for (const { at } of groupsOf(text).flat()) found.add(at);
    }
    return [...found].toSorted((a, b) => a - b).flatMap((at) => rules[at] ?? []);
  };
}
