import { z } from "zod";
import { keyHashPattern } from "../core/key-hash.ts";
import { displayName, network, perMinute, plainId as id } from "../core/options.ts";

const roles = z.array(z.string().min(1)).min(1);

const consumerId = id.describe("The consumer for which its calls are counted.");

export const keyOptions = z
  .strictObject({
    id: id
      .refine(
        (name) => name !== "anonymous",
        '"anonymous" is the name of callers without a key in records; choose another id',
      )
      .describe("Public id of the key, in logs and for `keys revoke`."),
    key: z.string().optional().describe("The key itself, as a reference: ${VAR}, ${file:PATH} or ${credential:NAME}."),
    keyHash: z
      .string()
      .regex(keyHashPattern, "write sha256: and 64 hexadecimal digits in lower case")
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
      .describe("Date (midnight UTC) or time from which the key is refused."),
    rateLimit: perMinute.optional().describe("Replaces the consumer's limit for this key, e.g. 120/m."),
    cidrs: z.array(network).default([]).describe("Networks from which the key may be used; any if empty."),
  })
  .refine((key) => (key.key === undefined) !== (key.keyHash === undefined), "give either key or keyHash");

export const authOptions = z.strictObject({
  type: z
    .enum(["api-key", "none"])
    .describe("`api-key`, or `none`: every caller on loopback is accepted.")
    .default("api-key"),
  keys: z
    .array(keyOptions)
    .default([])
    .describe("Keys kept in this file; `mcpgw keys create` stores keys in the state directory instead."),
  stdio: z
    .strictObject({ consumerId, roles: roles.describe("Its roles.") })
    .optional()
    .describe("Identity of a client that runs an embedded `mcpgw serve` without a key; if absent, a key is required."),
  roles: roles.optional().describe("Roles of all callers under `type: none`."),
});

export type KeyOptions = z.output<typeof keyOptions>;
export type AuthOptions = z.output<typeof authOptions>;
