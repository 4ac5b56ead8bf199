import { z } from "zod";
import { perMinute, size } from "../core/options.ts";

export const limitsOptions = z.strictObject({
  /** Calls per minute of a consumer; absent: no limit, which `status` shows. */
  perMinute: perMinute.optional(),
  /** Tokens the bucket holds; default: `perMinute`. */
  burst: z.number().int().positive().optional(),
  perTool: z
    .array(
      z.strictObject({
        tool: z.string().min(1),
        server: z.string().min(1).optional(),
        perMinute,
        burst: z.number().int().positive().optional(),
      }),
    )
    .default([]),
  /** Most requests in flight: of one principal, and of all. */
  inFlight: z
    .strictObject({
      perPrincipal: z.number().int().positive().default(256),
      total: z.number().int().positive().default(4096),
    })
    .prefault({}),
  body: size.default(4 * 1024 ** 2),
  result: size.default(16 * 1024 ** 2),
  /** Nesting and number of values of a message. */
  depth: z.number().int().min(8).max(256).default(64),
  nodes: z.number().int().min(1000).default(100_000),
  /** Entries on a page of a list. */
  page: z.number().int().min(1).max(10_000).default(1000),
  /** Most messages in one JSON-RPC batch of a client or a server, which revisions up to 2025-03-26 have. */
  batch: z.number().int().min(1).max(1000).default(100),
});
export type LimitsOptions = z.output<typeof limitsOptions>;
