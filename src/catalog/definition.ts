import type { Era, Span } from "../core/inbound.ts";
import { editMembers, editObject, type Edits } from "../mcp/edit.ts";
import { type Member, members, rawValue, stringValue } from "../mcp/json-text.ts";
import { metaEdit, type Rewrite } from "./app-uri.ts";
import type { Entry } from "./entries.ts";

/**
 * Returns a definition as its server wrote it, except its name or URI, other URIs that differ on the wire, and members
 * that clients of the era could not read.
 */
export function definitionText({ kind, name, wire, template, tool, text }: Entry, era: Era, rewrite: Rewrite): string {
  const all = members(text);
  const key = template ? "uriTemplate" : kind === "resource" ? "uri" : "name";
  const meta = valueOf(all, "_meta");
  const edits = {
    ...(wire !== name && { [key]: JSON.stringify(wire) }),
    ...(meta && metaEdit(text.slice(...meta), rewrite)),
    ...(kind === "tool" && toolEdits(text, all, era, tool?.modernOutput === true)),
  };
  return editMembers(text, all, edits);
}

/** Removes or rewrites the members that clients of the era cannot handle. */
function toolEdits(text: string, all: readonly Member[], era: Era, modernOutput: boolean): Edits {
  const execution = valueOf(all, "execution");
  // Tasks of 2025-11-25 are not supported, so this member is kept only if it says that the tool has none.
  const tasks = execution && stringValue(text, execution[0], "taskSupport") !== "forbidden" ? { execution: null } : {};
  if (era === "modern") return tasks;
  const output = valueOf(all, "outputSchema");
  const input = valueOf(all, "inputSchema");
  const headers = input && text.includes("x-mcp-header") && withoutHeaders(text.slice(...input));
  // Before 2026-07-28 structured content had to be an object; clients reject the whole list if one tool differs.
  const hidden = output && (modernOutput || stringValue(text, output[0], "type") !== "object");
  return {
    ...tasks,
    ...(output && { outputSchema: hidden ? null : withObjects(text.slice(...output)) }),
    ...(input && { inputSchema: withObjects(headers || text.slice(...input)) }),
  };
}

const written: Readonly<Record<string, string>> = { true: "{}", false: '{"not":{}}' };

/** Returns a schema without boolean `properties`: older clients reject a whole list because of one. */
function withObjects(schema: string): string {
  const properties = rawValue(schema, 0, "properties");
  if (properties === null) return schema;
  const all = members(properties);
  const edits = all.flatMap(({ key, value }) => {
    const edit = written[properties.slice(...value)];
    return edit === undefined ? [] : [[key, edit] as const];
  });
  if (edits.length === 0) return schema;
  return editObject(schema, { properties: editMembers(properties, all, Object.fromEntries(edits)) });
}

/** Returns a schema without `x-mcp-header`, unknown to older clients. It is valid only in nested `properties`. */
function withoutHeaders(schema: string): string {
  const properties = rawValue(schema, 0, "properties");
  const edits: Record<string, string | null> = { "x-mcp-header": null };
  if (properties !== null) {
    const inner = members(properties).flatMap(({ key, value }): [string, string][] => {
      const below = properties.slice(...value);
      return below.startsWith("{") && below.includes("x-mcp-header") ? [[key, withoutHeaders(below)]] : [];
    });
    if (inner.length > 0) edits["properties"] = editObject(properties, Object.fromEntries(inner));
  }
  return editObject(schema, edits);
}

function valueOf(all: readonly Member[], key: string): Span | null {
  return all.find((member) => member.key === key)?.value ?? null;
}
