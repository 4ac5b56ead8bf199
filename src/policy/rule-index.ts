import { byPrefix } from "../core/by-prefix.ts";
import { onlyText } from "../core/glob.ts";
import type { Readings } from "../core/uri-readings.ts";

/** Returns, in order, the rules that may select a URI with these readings; all rules if `readings` is null. */
export type About<Rule> = (readings: Readings | null) => readonly Rule[];

/**
 * Indexes rules by the literal prefixes of the URIs that they select. Callers choose the URIs of resources, so a URI
 * must not cost a check of every rule.
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
