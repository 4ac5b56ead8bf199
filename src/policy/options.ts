import { z } from "zod";

const glob = z.string().min(1).max(500);
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);

/** Operators of one condition; all given must hold. Each has an entry in `operators.ts`. */
const conditionOptions = z.strictObject({
  eq: scalar.optional(),
  neq: scalar.optional(),
  in: z.array(scalar).optional(),
  notIn: z.array(scalar).optional(),
  regex: z.string().max(1000).optional(),
  glob: glob.optional(),
  lt: z.number().optional(),
  lte: z.number().optional(),
  gt: z.number().optional(),
  gte: z.number().optional(),
  exists: z.boolean().optional(),
});

const subject = z
  .string()
  .regex(
    /^(args|principal|source|server)(\.[^.]+)+$/,
    "is no subject of a condition; write args.…, principal.…, source.… or server.…",
  );

const selector = {
  tool: glob.optional(),
  prompt: glob.optional(),
  resource: glob.optional(),
  server: glob.optional(),
  /** Dotted path (`args.customerId`, `principal.consumerId`, `source.ip`) → condition. */
  when: z.record(subject, conditionOptions).optional(),
  action: z.enum(["allow", "deny"]),
  id: z.string().max(100).optional(),
  reason: z.string().max(500).optional(),
};

/** A rule inside a role's policy. */
const ruleOptions = z.strictObject(selector);

/** A guardrail: decided before every policy. Its denial is final; its allow only ends the guardrails. */
const guardrailOptions = z.strictObject({
  ...selector,
  /** Glob of questions from servers to callers: elicitation/create, sampling/createMessage, roots/list. */
  input: glob.optional(),
  priority: z.number().int().default(0),
});

const policyOptions = z.strictObject({
  id: z.string().min(1).max(100),
  name: z.string().max(200).optional(),
  roles: z.array(z.string().min(1)).min(1),
  rules: z.array(ruleOptions),
});

export const rulesOptions = z.array(guardrailOptions).default([]);
export const policiesOptions = z.array(policyOptions).default([]);

export type ConditionOptions = z.output<typeof conditionOptions>;
export type RuleOptions = z.output<typeof ruleOptions>;
export type GuardrailOptions = z.output<typeof guardrailOptions>;
export type PolicyOptions = z.output<typeof policyOptions>;
