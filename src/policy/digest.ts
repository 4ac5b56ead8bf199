import { sortKeys } from "../core/json.ts";
import type { Bundle, Rule } from "./compile.ts";

/** SHA-256 over the rules in the order of decision, hex; equal digests decide equally. */
export function digestOf({ guardrails, inputs, policies }: Bundle): string {
  const facts = ({ id, options }: Rule): unknown => ({ ...options, id });
  // Sorted, because the order in which a file writes the parts of a rule decides nothing.
  const text = JSON.stringify(
    {
      guardrails: guardrails.map(facts),
      inputs: inputs.map(facts),
      policies: policies.map(({ id, roles, rules }) => ({ id, roles: roles.toSorted(), rules: rules.map(facts) })),
    },
    sortKeys,
  );
  return Bun.SHA256.hash(text, "hex");
}
