import type { Route } from "../core/call.ts";
import type { Era } from "../core/inbound.ts";
import { editObject, type Edits } from "../mcp/edit.ts";
import { locate } from "../mcp/json-text.ts";

/** A tool's definition as its server wrote it, but for its name and for what clients of the era could not read. */
export function definitionText({ tool, wire }: Route, era: Era): string {
  const text = tool?.text ?? "{}";
  return editObject(text, {
    name: JSON.stringify(wire),
    ...(era === "legacy" && objectOutput(text)),
  });
}

/** Before 2026-07-28 structured content was an object, and what promises another is refused with its whole list. */
function objectOutput(text: string): Edits {
  const schema = locate(text, 0, "outputSchema");
  const type = schema && locate(text, schema[0], "type");
  return schema && (!type || text.slice(...type) !== '"object"') ? { outputSchema: null } : {};
}
