import { z } from "zod";
import { duration } from "../core/options.ts";

/** Configuration of how calls are recorded. */
export const auditOptions = z.strictObject({
  storage: z.literal("sqlite").default("sqlite").describe("`sqlite`."),
  durability: z
    .enum(["strict", "standard", "relaxed"])
    .default("strict")
    .describe(
      "Which of a call's two records must be on stable storage before the gateway proceeds. `strict`: both; `standard`: the first; `relaxed`: none.",
    ),
  payloads: z
    .enum(["none", "digest", "redacted", "full"])
    .default("redacted")
    .describe(
      "What is stored of arguments and results, up to 64 KiB of each. `none`: nothing; `digest`: only a commitment; `redacted`: the text, with known secrets and anything that looks like a credential masked; `full`: the text, with known secrets masked. Paths in `redact` are masked in every mode.",
    ),
  redact: z
    .array(
      z
        .string()
        .regex(
          /^(args|result)(\.[^.]+)+$/,
          "write a path that begins with args. or result., for example args.password",
        ),
    )
    .default([])
    .describe(
      "Paths that are masked before anything is stored, for example args.password, or args.cards.*.pin, where `*` matches any member or index. Case is ignored.",
    ),
  checkpoints: z
    .array(
      z.strictObject({
        file: z
          .string()
          .min(1)
          .describe("File to append checkpoints to, preferably on another volume; relative to the configuration file."),
      }),
    )
    .default([])
    .describe("Files that receive signed checkpoints, in addition to the heads directory."),
  checkpointEvery: z
    .strictObject({
      interval: duration.prefault("10s").describe("Time between checkpoints."),
      records: z.number().int().positive().default(1000).describe("Number of records between checkpoints."),
    })
    .prefault({})
    .describe("When the next checkpoint is made: after this time or this number of records, whichever comes first."),
  onFailure: z
    .enum(["deny", "allow"])
    .default("deny")
    .describe(
      "`deny` refuses calls that cannot be recorded; `allow` lets them through, and status and /ready report it.",
    ),
});
export type AuditOptions = z.output<typeof auditOptions>;
