import { z } from "zod";
import { duration } from "../core/options.ts";

/** The part of the configuration that says how calls are recorded. */
export const auditOptions = z.strictObject({
  storage: z.literal("sqlite").default("sqlite").describe("`sqlite`."),
  durability: z
    .enum(["strict", "standard", "relaxed"])
    .default("strict")
    .describe(
      "Which of a call's two records are on stable storage before they take effect. `strict`: both; `standard`: the first; `relaxed`: none.",
    ),
  payloads: z
    .enum(["none", "digest", "redacted", "full"])
    .default("redacted")
    .describe(
      "What is kept of arguments and results, of each 64 KiB at most. `none`: nothing; `digest`: a commitment alone; `redacted`: the text, without known secrets and what looks like a credential; `full`: without known secrets. What `redact` names is masked in each.",
    ),
  redact: z
    .array(
      z
        .string()
        .regex(/^(args|result)(\.[^.]+)+$/, "write a path that begins with args. or result., e.g. args.password"),
    )
    .default([])
    .describe(
      "Paths that are masked before anything is stored, e.g. args.password, or args.cards.*.pin where `*` is any member or index; upper and lower case are the same.",
    ),
  checkpoints: z
    .array(
      z.strictObject({
        file: z.string().min(1).describe("File to append them to, best on another volume; relative to this file."),
      }),
    )
    .default([])
    .describe("Where signed checkpoints go in addition to the heads directory."),
  checkpointEvery: z
    .strictObject({
      interval: duration.prefault("10s").describe("Time between two checkpoints."),
      records: z.number().int().positive().default(1000).describe("Records between two checkpoints."),
    })
    .prefault({})
    .describe("When the next checkpoint is made: after this time or number of records, whichever comes first."),
  onFailure: z
    .enum(["deny", "allow"])
    .default("deny")
    .describe("`deny` refuses calls that cannot be recorded; `allow` lets them pass, which status and /ready show."),
});
export type AuditOptions = z.output<typeof auditOptions>;
