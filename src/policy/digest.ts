import { sortKeys } from "../core/json.ts";
import type { Bundle, Rule } from "./compile.ts";

/** Returns the SHA-256, in hex, over the rules in the order of decision; equal digests mean equal decisions. */
export function digestOf({ guardrails, inputs, policies }: Bundle): string {
  const facts = ({ id, options }: Rule): unknown => ({ ...options, id });
  // Sorted, because the order of the keys of a rule does not affect decisions.
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
