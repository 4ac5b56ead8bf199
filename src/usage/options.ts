import { z } from "zod";

/** The part of the configuration that says whether calls are metered. */
export const usageOptions = z.strictObject({
  enabled: z.boolean().default(true).describe("Whether calls are counted per consumer, server and tool."),
});
