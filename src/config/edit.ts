import { isMap, isScalar, isSeq, parseDocument, type Pair, type YAMLMap } from "yaml";

type Scalars = { readonly start: number; readonly end: number };

const nameOf = (pair: Pair): unknown => (isScalar(pair.key) ? pair.key.value : null);

function valueRange(server: YAMLMap, name: string): Scalars | null {
  const pair = server.items.find((item) => nameOf(item) === name);
  const range = isScalar(pair?.value) ? pair.value.range : null;
  return range ? { start: range[0], end: range[1] } : null;
}

/**
 * The text of a configuration file with one server switched on or off and every other character unchanged; null if
 * there is no such server, or if its entry cannot be edited in place.
 */
export function enableServer(text: string, id: string, on: boolean): string | null {
  const doc = parseDocument(text);
  const servers = doc.get("servers");
  if (doc.errors.length > 0 || !isSeq(servers)) return null;
  const server = servers.items.find((item): item is YAMLMap => isMap(item) && item.get("id") === id);
  if (!server) return null;
  const present = valueRange(server, "enabled");
  if (present) return text.slice(0, present.start) + String(on) + text.slice(present.end);
  // An absent `enabled` means on.
  if (on) return text;
  const named = valueRange(server, "id");
  const key = server.items.find((item) => nameOf(item) === "id")?.key;
  if (!named || !isScalar(key) || !key.range) return null;
  const quote = key.type === "QUOTE_DOUBLE" ? '"' : "";
  const entry = `${quote}enabled${quote}: false`;
  if (server.flow) return `${text.slice(0, named.end)}, ${entry}${text.slice(named.end)}`;
  const lineEnd = text.indexOf("\n", named.end);
  const at = lineEnd < 0 ? text.length : lineEnd;
  const column = key.range[0] - (text.lastIndexOf("\n", key.range[0] - 1) + 1);
  return `${text.slice(0, at)}\n${" ".repeat(column)}${entry}${text.slice(at)}`;
}
