import { z } from "zod";
import { serverId } from "../core/options.ts";

export const namesOptions = z.strictObject({
  // Clients prepend `mcp__<server>__` and stop at 64.
  max: z
    .number()
    .int()
    .min(20)
    .max(128)
    .default(50)
    .describe("Maximum length of the name of a tool or prompt; longer names are shortened."),
});
export type NamesOptions = z.output<typeof namesOptions>;

const selection = z
  .string()
  .max(1000)
  .regex(/^[a-z0-9*?-]+:./s, "write SERVER:NAME with globs on either side, for example crm:get_* or *:*");

const toolsetOptions = z.strictObject({
  id: serverId.describe("The last part of the toolset's endpoint; no server may have the same id."),
  description: z.string().max(4000).optional().describe("Shown to clients before the instructions of the servers."),
  include: z
    .array(selection)
    .min(1)
    .describe("What the toolset offers: SERVER:NAME, with globs on either side; the name of a resource is its URI."),
  exclude: z.array(selection).default([]).describe("What the toolset excludes from `include`, in the same form."),
  rename: z
    .record(
      z.string().regex(/^[a-z0-9-]+:./s, "write SERVER:NAME as the server names it"),
      z
        .string()
        .max(128)
        .regex(/^[A-Za-z0-9_-]+$/, "a name consists of letters, digits, hyphens and underscores")
        .describe("The name that clients see; the key is SERVER:NAME as the server names it."),
    )
    .default({})
    .describe("Names of tools and prompts that apply in this toolset only."),
});
export const toolsetsOptions = z
  .array(toolsetOptions)
  .default([])
  .describe("Selections of tools, prompts and resources, each with its own endpoint /mcp/ID; rules still apply.");
export type ToolsetOptions = z.output<typeof toolsetOptions>;
