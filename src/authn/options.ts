import { z } from "zod";
import { keyHashForm } from "../core/key-hash.ts";
import { displayName, network, perMinute, plainId as id } from "../core/options.ts";

const roles = z.array(z.string().min(1)).min(1);

const consumerId = id.describe("The consumer that its calls are counted for.");

/** A key in the configuration file. */
export const keyOptions = z
  .strictObject({
    id: id
      .refine(
        (name) => name !== "anonymous",
        '"anonymous" is what records call a caller without a key; choose another id',
      )
      .describe("Public name of the key, in logs and in `keys revoke`."),
    key: z.string().optional().describe("The key itself, as a reference: ${VAR}, ${file:PATH} or ${credential:NAME}."),
    keyHash: z
      .string()
      .regex(keyHashForm, "write sha256: and 64 hexadecimal digits in lower case")
      .optional()
      .describe("SHA-256 of the key instead of the key."),
    name: displayName,
    consumerId,
    roles: roles.describe("Its roles; policies grant rights to roles."),
    enabled: z.boolean().default(true).describe("Whether the key is accepted."),
    expiresAt: z.iso
      .datetime({ offset: true })
      .or(z.iso.date())
      .optional()
      .describe("Date (midnight, UTC) or time from which it is refused."),
    rateLimit: perMinute.optional().describe("Replaces the consumer's limit for this key, e.g. 120/m."),
    cidrs: z.array(network).default([]).describe("Networks from which it may be used; empty: any."),
  })
  .refine((key) => (key.key === undefined) !== (key.keyHash === undefined), "give either key or keyHash");

export const authOptions = z.strictObject({
  type: z
    .enum(["api-key", "none"])
    .describe("`api-key`, or `none`: everybody on loopback may call.")
    .default("api-key"),
  keys: z
    .array(keyOptions)
    .default([])
    .describe("Keys kept in this file; `mcpgw keys create` keeps them in the state directory instead."),
  stdio: z
    .strictObject({ consumerId, roles: roles.describe("Its roles.") })
    .optional()
    .describe(
      "The identity of the parent process of an embedded `mcpgw serve` that gives no key; if absent, a key is needed.",
    ),
  roles: roles.optional().describe("Roles of all callers under `type: none`."),
});

export type KeyOptions = z.output<typeof keyOptions>;
export type AuthOptions = z.output<typeof authOptions>;
