import { z } from "zod";
import { perMinute, size } from "../core/options.ts";

export const limitsOptions = z.strictObject({
  perMinute: perMinute
    .optional()
    .describe("Maximum calls per minute of one consumer, e.g. 60 or 2/s; no limit if absent."),
  burst: z.number().int().positive().optional().describe("Maximum number of calls at once; default: perMinute."),
  perTool: z
    .array(
      z.strictObject({
        tool: z.string().min(1).describe("Glob of tool names."),
        server: z.string().min(1).optional().describe("Glob of server ids."),
        perMinute: perMinute.describe("Maximum calls per minute of one consumer, for each tool separately."),
        burst: z.number().int().positive().optional().describe("Maximum number of calls at once."),
      }),
    )
    .default([])
    .describe("Limits per tool; each tool that the globs match is counted separately."),
  inFlight: z
    .strictObject({
      perPrincipal: z.number().int().positive().default(256).describe("Maximum for one caller."),
      total: z.number().int().positive().default(4096).describe("Maximum for all callers."),
    })
    .prefault({})
    .describe("Maximum number of requests in progress at once."),
  body: size.prefault("4MiB").describe("Maximum size of a request, e.g. 4MiB."),
  result: size.prefault("16MiB").describe("Maximum size of a result."),
  depth: z.number().int().min(8).max(256).default(64).describe("Maximum nesting depth of a message."),
  nodes: z
    .number()
    .int()
    .min(1000)
    .default(100_000)
    .describe(
      "Maximum number of values in a message; for a server's answer, one per 8 bytes of limits.result if that is more.",
    ),
  page: z
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(1000)
    .describe("Maximum number of entries on a page of a list of tools, prompts or resources."),
  batch: z
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(100)
    .describe("Maximum number of messages in a batch, for clients and servers whose revision has batches."),
});
export type LimitsOptions = z.output<typeof limitsOptions>;
