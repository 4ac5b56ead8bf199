import { onlyText } from "../core/glob.ts";
import type { Rule, Target } from "./compile.ts";

/**
 * Finds those rules that may be about a target, in order. Callers choose the URIs of resources, so each must not cost a
 * look at every rule: rules are found by the literal beginnings of their globs.
 */
export function indexRules(rules: readonly Rule[]): (target: Target) => readonly Rule[] {
  const byBeginning = new Map<string, Set<number>>();
  for (const [index, { beginnings }] of rules.entries())
    for (const beginning of beginnings)
      byBeginning.set(beginning, (byBeginning.get(beginning) ?? new Set<number>()).add(index));
  const lengths = [...new Set(byBeginning.keys().map((beginning) => beginning.length))];
  return ({ readings }) => {
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
