import { describe, expect, test } from "bun:test";
import type { Tool } from "../../src/core/call.ts";
import { createValidator } from "../../src/validate/index.ts";
import { stillClock } from "../support/principal.ts";

const { refuses } = createValidator({ clock: stillClock(), warn: () => {} });

function tool(more: Record<string, unknown>): Tool {
  const inputSchema = { type: "object" };
  return { name: "t", text: JSON.stringify({ name: "t", inputSchema, ...more }), inputSchema };
}

describe("one unreadable definition would spoil the whole list", () => {
  test.each([
    [{ title: 5 }, "its title is not a string"],
    [{ description: null }, "its description is not a string"],
    [{ outputSchema: [] }, "its outputSchema is not a schema"],
    [{ annotations: { readOnlyHint: "yes" } }, "its annotations is not an object of hints"],
    [{ execution: { taskSupport: "maybe" } }, "its execution is not an object that says how it runs"],
    [{ icons: [{}] }, "its icons is not a list of icons"],
    [{ icons: {} }, "its icons is not a list of icons"],
    [{ _meta: 1 }, "its _meta is not an object"],
  ])("%j is hidden with a reason", (more, reason) => expect(refuses(tool(more))).toBe(reason));

  test.each([
    {},
    { title: "T", description: "", outputSchema: { type: "array" }, annotations: { title: "x", openWorldHint: true } },
    { execution: { taskSupport: "optional", new: 1 }, icons: [{ src: "data:," }], _meta: { a: 1 }, new: [1] },
  ])("%j is offered", (more) => expect(refuses(tool(more))).toBeNull());
});
