import { z } from "zod";
import { compileCidr } from "./cidr.ts";
import { parseDuration } from "./duration.ts";
import { parseRate } from "./rate.ts";

// Value types that several options share.

/** `30s`, `5m`; a bare number is in seconds. Yields milliseconds. */
export const duration = z.union([z.string(), z.number().int().nonnegative()]).transform((value, ctx) => {
  const ms = typeof value === "number" ? value * 1000 : parseDuration(value);
  if (ms !== null) return ms;
  ctx.addIssue({
    code: "custom",
    message: `"${value}" is not a duration; write for example 500ms, 30s, 5m, 2h or 90d`,
  });
  return z.NEVER;
});

const sizeUnits: Record<string, number> = { "": 1, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** The shortest exact spelling of a number of bytes. */
export function formatSize(bytes: number): string | number {
  const [unit, factor] = Object.entries(sizeUnits).findLast(([, each]) => each > 1 && bytes % each === 0) ?? ["", 1];
  return unit === "" ? bytes : `${bytes / factor}${unit}`;
}

/** `4MiB`, `64KiB` or a number of bytes. Yields bytes. */
export const size = z.union([z.string(), z.number().int().positive()]).transform((value, ctx) => {
  if (typeof value === "number") return value;
  const match = /^(\d{1,12})(B|KiB|MiB|GiB|)$/.exec(value);
  const bytes = match ? Number(match[1]) * (sizeUnits[match[2] ?? ""] ?? 1) : null;
  if (bytes !== null && bytes > 0) return bytes;
  const help = `"${value}" is not a size; write for example 64KiB, 4MiB or a number of bytes`;
  ctx.addIssue({ code: "custom", message: bytes === 0 ? "must be more than 0" : help });
  return z.NEVER;
});

/** `120/m`, `2/s`, `1000/h`, or a number per minute. Yields calls per minute. */
export const perMinute = z.union([z.string(), z.number().nonnegative()]).transform((value, ctx) => {
  const rate = typeof value === "number" ? value : parseRate(value);
  if (rate !== null) return rate;
  ctx.addIssue({ code: "custom", message: `"${value}" is not a rate; write for example 120/m, 2/s or 1000/h` });
  return z.NEVER;
});

/** Identifies a server; used in policy, wire names and file names. */
export const serverId = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9-]{0,49}$/,
    "a server id consists of lowercase letters, digits and hyphens (50 at most), for example github-prod",
  );

/** Identifies a key, or the consumer that a key belongs to. */
export const plainId = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    "an id consists of letters, digits, dots, underscores and hyphens (64 at most)",
  );

export const displayName = z.string().max(200).optional().describe("A display name for people.");

/** A network or a single address. */
export const network = z
  .string()
  .refine((text) => compileCidr(text) !== null, "not a network; write an address or, for example, 10.0.0.0/8");

/** Whether the names of a server's tools on the wire include its id. */
export const prefix = z.enum(["always", "none", "on-conflict"]).default("always");
export type Prefix = z.output<typeof prefix>;
