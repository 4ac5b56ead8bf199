import { z } from "zod";

/** Length that exposed tool names are kept within; clients prepend `mcp__<server>__` and stop at 64. */
export const namesOptions = z.strictObject({ max: z.number().int().min(20).max(128).default(50) });
export type NamesOptions = z.output<typeof namesOptions>;
