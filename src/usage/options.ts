import { z } from "zod";

export const usageOptions = z.strictObject({
  enabled: z.boolean().default(true).describe("Whether calls are counted per consumer, server and tool."),
});
