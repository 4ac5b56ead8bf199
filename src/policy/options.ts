import { z } from "zod";
import { displayName } from "../core/options.ts";

const glob = z.string().min(1).max(500);
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);

/** The given operators must all hold. Each has an entry in `operators.ts`. */
const operators = {
  eq: scalar.optional().describe("Equal to."),
  neq: scalar.optional().describe("Not equal to."),
  in: z.array(scalar).optional().describe("One of."),
  notIn: z.array(scalar).optional().describe("None of."),
  regex: z.string().max(1000).optional().describe("A regular expression that matches any part."),
  glob: glob.optional().describe("A glob that matches the whole."),
  lt: z.number().optional().describe("Less than."),
  lte: z.number().optional().describe("At most."),
  gt: z.number().optional().describe("More than."),
  gte: z.number().optional().describe("At least."),
  exists: z.boolean().optional().describe("Whether the value is present."),
};
const conditionOptions = z.strictObject(operators, {
  error: ({ code }) =>
    code === "invalid_type" ? "expected operators, e.g. { eq: VALUE } or { in: [VALUE] }" : undefined,
});

const subject = z
  .string()
  .regex(
    /^(args|principal|source|server)(\.[^.]+)+$/,
    "is not a subject of a condition; write args.…, principal.…, source.… or server.…",
  );

const selector = {
  tool: glob.optional().describe("Glob of tool names, or of server:tool."),
  prompt: glob.optional().describe("Glob of prompt names, or of server:prompt."),
  resource: glob.optional().describe("Glob of resource URIs."),
  server: glob.optional().describe("Glob of server ids."),
  when: z
    .record(subject, conditionOptions.describe("Operators, which must all hold."))
    .optional()
    .describe("Conditions, which must all hold: a path (args.…, principal.…, source.…, server.…) and its operators."),
  action: z.enum(["allow", "deny"]).describe("What the rule does with the calls that it matches."),
  id: z.string().max(100).optional().describe("Named in refusals and in the audit log."),
  reason: z
    .string()
    .max(500)
    .optional()
    .describe("Shown to a denied caller; the reason of an allow appears only in the audit log."),
};

/** A rule inside a role's policy. */
const ruleOptions = z.strictObject(selector);

/** A guardrail, which is decided before every policy. A deny is final; an allow only ends the guardrail phase. */
const guardrailOptions = z.strictObject({
  ...selector,
  input: glob
    .optional()
    .describe(
      "Glob of requests from servers to callers: elicitation/create, sampling/createMessage, roots/list. A rule with input matches nothing else.",
    ),
  priority: z
    .number()
    .int()
    .default(0)
    .describe("Higher priorities are decided first; at equal priority, denials are."),
});

const policyOptions = z.strictObject({
  id: z.string().min(1).max(100).describe("Named in refusals and in the audit log."),
  name: displayName,
  roles: z.array(z.string().min(1)).min(1).describe("The roles to which the policy applies."),
  rules: z.array(ruleOptions).describe("Rules in order; the first match decides for this policy."),
});

export const rulesOptions = z
  .array(guardrailOptions)
  .default([])
  .describe("Guardrails, decided before the policies, highest priority first; the first match ends the guardrails.");
export const policiesOptions = z
  .array(policyOptions)
  .default([])
  .describe("What roles may do; everything that no policy allows is denied.");

export type ConditionOptions = z.output<typeof conditionOptions>;
export type RuleOptions = z.output<typeof ruleOptions>;
export type GuardrailOptions = z.output<typeof guardrailOptions>;
export type PolicyOptions = z.output<typeof policyOptions>;

/** Everything that a configuration says about what callers may do. */
export type PolicySet = {
  readonly rules: readonly GuardrailOptions[];
  readonly policies: readonly PolicyOptions[];
};
