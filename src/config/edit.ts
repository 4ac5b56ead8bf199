import { isMap, isScalar, isSeq, parseDocument, type Pair, type YAMLMap } from "yaml";
import { valueAt } from "../core/finding.ts";

type Range = { readonly start: number; readonly end: number };

const pairOf = (server: YAMLMap, name: string): Pair | undefined =>
  server.items.find(({ key }) => isScalar(key) && key.value === name);

/** Returns where a value is written; null if it is empty or not a scalar. */
function valueRange(server: YAMLMap, name: string): Range | null {
  const pair = pairOf(server, name);
  const [start, end] = (isScalar(pair?.value) && pair.value.range) || [0, 0];
  return start < end ? { start, end } : null;
}

/** Reports whether the plain data of a configuration file has a server with this id, however it is written. */
export function hasServer(data: unknown, id: string): boolean {
  const servers = valueAt(data, ["servers"]);
  return Array.isArray(servers) && servers.some((server: unknown) => valueAt(server, ["id"]) === id);
}

/**
 * Enables or disables one server in the text of a valid configuration file, leaving every other character unchanged.
 * Returns null if the server has no entry that can be edited in place.
 */
export function enableServer(text: string, id: string, on: boolean): string | null {
  const doc = parseDocument(text);
  const servers = doc.get("servers");
  if (!isSeq(servers)) return null;
  const server = servers.items.find((item): item is YAMLMap => isMap(item) && item.get("id") === id);
  if (!server) return null;
  const present = valueRange(server, "enabled");
  // An alias may be shared with other servers, and a value after `enabled:` needs a space.
  if (!present && pairOf(server, "enabled")) return null;
  if (present) return text.slice(0, present.start) + String(on) + text.slice(present.end);
  // An absent `enabled` means on.
  if (on) return text;
  const named = valueRange(server, "id");
  const key = pairOf(server, "id")?.key;
  if (!named || !isScalar(key) || !key.range) return null;
  const quote = key.type === "QUOTE_DOUBLE" ? '"' : "";
  const entry = `${quote}enabled${quote}: false`;
  if (server.flow) return `${text.slice(0, named.end)}, ${entry}${text.slice(named.end)}`;
  const at = named.end + text.slice(named.end).search(/\r?\n|$/);
  const newline = text.includes("\r\n") ? "\r\n" : "\n";
  const column = key.range[0] - (text.lastIndexOf("\n", key.range[0]) + 1);
  return `${text.slice(0, at)}${newline}${" ".repeat(column)}${entry}${text.slice(at)}`;
}
