import { z } from "zod";
import { duration } from "../core/options.ts";

const durabilities = ["strict", "standard", "relaxed"] as const;
const payloadModes = ["none", "digest", "redacted", "full"] as const;

/** The part of the configuration that says how calls are recorded. */
export const auditOptions = z.strictObject({
  storage: z.literal("sqlite").default("sqlite"),
  durability: z.enum(durabilities).default("strict"),
  payloads: z.enum(payloadModes).default("redacted"),
  /** JSON paths (`args.password`, `result.*.ssn`) that are masked before anything is hashed or stored. */
  redact: z.array(z.string().regex(/^(args|result)(\.[^.]+)+$/)).default([]),
  /** Where signed checkpoints go, besides the heads directory: files to append to, best on another volume. */
  checkpoints: z.array(z.strictObject({ file: z.string().min(1) })).default([]),
  checkpointEvery: z
    .strictObject({ interval: duration.default(10_000), records: z.number().int().positive().default(1000) })
    .prefault({}),
  /** `allow` lets calls pass that could not be recorded; shown by status and /ready. */
  onFailure: z.enum(["deny", "allow"]).default("deny"),
});
export type AuditOptions = z.output<typeof auditOptions>;
