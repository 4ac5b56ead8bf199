import { z } from "zod";
import { perMinute, size } from "../core/options.ts";

export const limitsOptions = z.strictObject({
  perMinute: perMinute.optional().describe("Calls per minute of one consumer, e.g. 60 or 2/s; absent: no limit."),
  burst: z.number().int().positive().optional().describe("Most calls that may come at once; default: perMinute."),
  perTool: z
    .array(
      z.strictObject({
        tool: z.string().min(1).describe("Glob of tool names."),
        server: z.string().min(1).optional().describe("Glob of server ids."),
        perMinute: perMinute.describe("Calls per minute of one consumer, for each tool by itself."),
        burst: z.number().int().positive().optional().describe("Most calls that may come at once."),
      }),
    )
    .default([])
    .describe("Limits of single tools; each that the globs match is counted by itself."),
  inFlight: z
    .strictObject({
      perPrincipal: z.number().int().positive().default(256).describe("Of one caller."),
      total: z.number().int().positive().default(4096).describe("Of all callers."),
    })
    .prefault({})
    .describe("Most requests in progress at once."),
  body: size.prefault("4MiB").describe("Largest request, e.g. 4MiB."),
  result: size.prefault("16MiB").describe("Largest result."),
  depth: z.number().int().min(8).max(256).default(64).describe("Deepest nesting of a message."),
  nodes: z
    .number()
    .int()
    .min(1000)
    .default(100_000)
    .describe(
      "Most values in a message; an answer of a server may have one for every 8 bytes of limits.result, if that is more.",
    ),
  page: z
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(1000)
    .describe("Most entries on a page of a list of tools, prompts or resources."),
  batch: z
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(100)
    .describe("Most messages in a batch, for clients and servers whose revision has batches."),
});
export type LimitsOptions = z.output<typeof limitsOptions>;
