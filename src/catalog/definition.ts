import type { Era, Span } from "../core/inbound.ts";
import { editMembers, editObject, type Edits } from "../mcp/edit.ts";
import { locate, mayHold, type Member, members, rawValue, stringAt, stringValue } from "../mcp/json-text.ts";
import type { Entry } from "./entries.ts";

/** The URI on the wire for a server's own URI; null if it is the same. */
export type Rewrite = (uri: string) => string | null;

/**
 * A definition as its server wrote it, with three changes: its name or URI, URIs in it that differ on the wire, and
 * members that clients of the era could not read.
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
  return Object.keys(edits).length === 0 ? text : editMembers(text, all, edits);
}

/** The URI of the app that shows a tool's results, as its server wrote it; null if there is none. */
export function appUri(text: string): string | null {
  const meta = rawValue(text, 0, "_meta") ?? "";
  const [span] = appSpans(meta);
  return span ? stringAt(meta, span) : null;
}

/** Removes the members that clients of the era must not see. */
function toolEdits(text: string, all: readonly Member[], era: Era, modernOutput: boolean): Edits {
  const execution = valueOf(all, "execution");
  // Tasks of 2025-11-25 are not served, so this member stays only if it says that the tool has none.
  const tasks = execution && stringValue(text, execution[0], "taskSupport") !== "forbidden" ? { execution: null } : {};
  if (era === "modern") return tasks;
  const output = valueOf(all, "outputSchema");
  const input = valueOf(all, "inputSchema");
  const headers = input && text.includes("x-mcp-header") && withoutHeaders(text.slice(...input));
  // Before 2026-07-28 structured content had to be an object; for one tool with another type clients refuse the whole
  // list.
  const hidden = output && (modernOutput || stringValue(text, output[0], "type") !== "object");
  return {
    ...tasks,
    ...(output && { outputSchema: hidden ? null : withObjects(text.slice(...output)) }),
    ...(input && { inputSchema: withObjects(headers || text.slice(...input)) }),
  };
}

const written: Readonly<Record<string, string>> = { true: "{}", false: '{"not":{}}' };

/** A schema whose `properties` are objects, since older clients refuse a list in which one is true or false. */
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

/**
 * A schema without `x-mcp-header`, which only modern clients understand. It stands only where chains of `properties`
 * lead.
 */
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

/** Edits the `_meta` of a tool or result: rewrites the URI of its app. No edits if the URI stays. */
export function metaEdit(meta: string, rewrite: Rewrite): Edits {
  let edited = meta;
  // From last to first, so that the earlier positions stay valid.
  for (const span of appSpans(meta).toReversed()) {
    const uri = stringAt(meta, span);
    const wire = uri === null ? null : rewrite(uri);
    if (wire !== null) edited = edited.slice(0, span[0]) + JSON.stringify(wire) + edited.slice(span[1]);
  }
  return edited === meta ? {} : { _meta: edited };
}

/**
 * The positions where a `_meta` names its app, in the order of the text: under the present key and under the older one.
 */
function appSpans(meta: string): Span[] {
  if (!mayHold(meta, "resourceUri")) return [];
  const ui = locate(meta, 0, "ui");
  const inner = ui && locate(meta, ui[0], "resourceUri");
  const found = [inner, locate(meta, 0, "ui/resourceUri")].filter((span) => span !== null);
  return found.toSorted(([a], [b]) => a - b);
}

function valueOf(all: readonly Member[], key: string): Span | null {
  return all.find((member) => member.key === key)?.value ?? null;
}
