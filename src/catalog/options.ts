import { z } from "zod";
import { serverId } from "../core/options.ts";

/** Greatest length of tool names on the wire. Clients prepend `mcp__<server>__` and stop at 64. */
export const namesOptions = z.strictObject({ max: z.number().int().min(20).max(128).default(50) });
export type NamesOptions = z.output<typeof namesOptions>;

/** `server:name`, both globs; a resource's name is its URI. */
const selection = z
  .string()
  .max(1000)
  .regex(/^[a-z0-9*?-]+:./s, "write SERVER:NAME, globs on both sides, e.g. crm:get_* or *:*");

/** A selection of things with an endpoint of its own. It only narrows what rules allow. */
const toolsetOptions = z.strictObject({
  id: serverId,
  description: z.string().max(4000).optional(),
  include: z.array(selection).min(1),
  exclude: z.array(selection).default([]),
  /** Canonical name of a tool or prompt → its name on the wire, in this toolset only. */
  rename: z
    .record(
      z.string().regex(/^[a-z0-9-]+:./s, "write SERVER:NAME as the server names it"),
      z
        .string()
        .max(128)
        .regex(/^[A-Za-z0-9_-]+$/, "a name is letters, digits, hyphens and underscores"),
    )
    .default({}),
});
export const toolsetsOptions = z.array(toolsetOptions).default([]);
export type ToolsetOptions = z.output<typeof toolsetOptions>;
