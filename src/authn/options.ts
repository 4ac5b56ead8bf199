import { z } from "zod";
import { keyHashForm } from "../core/key-hash.ts";
import { network, perMinute, plainId as id } from "../core/options.ts";

const roles = z.array(z.string().min(1)).min(1);

/** A key in the configuration file; `key` must come from `${VAR}` or a file, `keyHash` may stand there. */
export const keyOptions = z
  .strictObject({
    id,
    key: z.string().optional(),
    keyHash: z.string().regex(keyHashForm, "write sha256: and 64 hexadecimal digits").optional(),
    name: z.string().max(200).optional(),
    consumerId: id,
    roles,
    enabled: z.boolean().default(true),
    expiresAt: z.iso.datetime({ offset: true }).or(z.iso.date()).optional(),
    rateLimit: perMinute.optional(),
    cidrs: z.array(network).default([]),
  })
  .refine((key) => (key.key === undefined) !== (key.keyHash === undefined), "give either key or keyHash");

export const authOptions = z.strictObject({
  type: z.enum(["api-key", "none"]).default("api-key"),
  keys: z.array(keyOptions).default([]),
  /** Who the parent process of an embedded `serve` is when it gives no key. */
  stdio: z.strictObject({ consumerId: id, roles }).optional(),
  /** Roles of everybody under `type: none`. */
  roles: roles.optional(),
});

export type KeyOptions = z.output<typeof keyOptions>;
export type AuthOptions = z.output<typeof authOptions>;
