import { z } from "zod";

export const usageOptions = z.strictObject({ enabled: z.boolean().default(true) });
