import { thrownBy } from "../../core/attempt.ts";
import type { Item, Tool } from "../../core/call.ts";
import { messageOf } from "../../core/error-text.ts";
import { Failure } from "../../core/failure.ts";
import { isObject } from "../../core/json.ts";
import { type ListName, lists } from "../../core/lists.ts";
import { maxNameLength } from "../../core/name.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { copied, cut } from "../../core/text.ts";
import { headerNames } from "../../mcp/headers.ts";
import { readable } from "../../mcp/readable.ts";
import { elements, locate, openArray, stringValue } from "../../mcp/json-text.ts";
import { maxDefinitionDepth, type ScanLimits, scan } from "../../mcp/scan.ts";
import { faults, quoted } from "../faults.ts";
import type { SetHost } from "../host.ts";
import type { Instance } from "../link/link.ts";
import { repeatIfLost, type Query, query } from "../link/query.ts";

/** Limits of one listing, against a hostile or broken server. */
const most = { pages: 100, items: 10_000, characters: 32 * 1024 ** 2, ms: 60_000 };

/** A definition that is not offered, and why. Without a name: a part of the list is missing. */
export type MissingItem = { readonly name: string | null; readonly reason: string };

/** A list's entries as the server wrote them. `warning`: why there may be more; `late`: the time ran out. */
export type Drained = { readonly texts: readonly string[]; readonly warning: string | null; readonly late: boolean };

/**
 * Reads a whole list page by page, for at most `ms`, as a client that declares these capabilities to a modern server.
 * Throws `upstream-protocol` if a page cannot be read, and as `Link.request` does.
 */
export async function drainList(
  { link, peer }: Instance,
  list: ListName,
  { ms = most.ms, declares }: { ms?: number } & Pick<Query, "declares"> = {},
): Promise<Drained> {
  const { host } = link;
  const { method } = lists[list];
  const deadline = performance.now() + ms;
  const cursors = new Set<string>();
  const texts: string[] = [];
  const ended = (why: string, late = false): Drained => ({
    texts: texts.slice(0, most.items),
    warning: `its ${method} was cut off: ${why}`,
    late,
  });
  const whole: Drained = { texts, warning: null, late: false };
  let cursor: string | undefined;
  let characters = 0;
  for (let page = 1; ; page++) {
    const usual = host.timeout();
    const timeout = Math.min(usual, Math.max(1, Math.ceil(deadline - performance.now())));
    const params = cursor === undefined ? {} : { cursor };
    const answer = await repeatIfLost(() => query(link, { method, peer, timeout, params, declares })).catch(
      (error: unknown) => {
        const overtime = error instanceof Failure && error.code === "timeout" && timeout < usual;
        if (page === 1 || !overtime) throw error;
        return null;
      },
    );
    if (answer === null) return ended(`more than ${ms / 1_000} s`, true);
    if (answer.kind === "error") {
      // Many servers with resources do not know templates, and a list that was never announced need not exist.
      const isOptional = list === "resourceTemplates" || (peer.capabilities === null && list !== "tools");
      if (isOptional && answer.code === rpcCodes.methodNotFound) return whole;
      throw faults.protocol(host.server, `${method}: ${quoted(answer.message, host.secrets())}`);
    }
    const { items, next } = readPage(answer.result, host.server, list);
    for (const item of items) texts.push(item);
    characters += answer.result.length;
    if (next === null) return whole;
    const why = stop({ page, items: texts.length, characters, repeated: cursors.has(next) });
    if (why) return ended(why);
    cursors.add(next);
    cursor = next;
  }
}

function stop(at: { page: number; items: number; characters: number; repeated: boolean }): string | null {
  if (at.repeated) return "a cursor was repeated";
  if (at.page >= most.pages) return `more than ${most.pages} pages`;
  if (at.items >= most.items) return `more than ${most.items} entries`;
  return at.characters >= most.characters ? `more than ${most.characters} characters` : null;
}

function readPage(result: string, server: string, list: ListName): { items: string[]; next: string | null } {
  const span = locate(result, 0, list);
  if (!span || result.charCodeAt(span[0]) !== openArray) {
    throw faults.protocol(server, `${lists[list].method} has no list of ${list}`);
  }
  // The empty string is a cursor too; only a missing cursor ends the list.
  const next = stringValue(result, 0, "nextCursor");
  // Copied, because a slice keeps the whole text in memory, and an unchanged entry outlives its page.
  return { items: elements(result, span[0]).map(([start, end]) => copied(result.slice(start, end))), next };
}

type ItemRules = Pick<SetHost, "refuses" | "refusesOutput"> & { readonly limits: ScanLimits };

/** The definitions of a list: those that are offered, and those that are not. */
export type Definitions<T = Item> = { readonly items: readonly T[]; readonly missing: readonly MissingItem[] };

/** Reads definitions one at a time. */
type Reading<T> = Generator<undefined, Definitions<T>>;

/**
 * Reads tools as a server sent them or as they were stored. A bad definition is left out, never the whole list. A
 * definition that passes here is not checked again.
 */
export function readTools(texts: readonly string[], rules: ItemRules): Reading<Tool> {
  return read(texts, "tools", rules, (item, { inputSchema, outputSchema }) => {
    if (!isObject(inputSchema)) return "its inputSchema is not an object";
    const tool = withOutput({ ...item, inputSchema }, outputSchema, rules);
    // Modern clients also see the tools of legacy servers, and must drop a tool with invalid headers.
    return headerNames(inputSchema).invalid ?? rules.refuses(tool) ?? tool;
  });
}

/** Marks a tool whose outputSchema only modern clients can use. */
function withOutput(tool: Tool, schema: unknown, rules: ItemRules): Tool {
  // A schema of another type than object is valid; legacy clients are never shown it.
  if (!isObject(schema) || schema.type !== "object") return tool;
  const fault = rules.refusesOutput(schema);
  if (fault === null) return tool;
  const said = `its outputSchema, which is hidden from clients before 2026-07-28, ${fault}`;
  return { ...tool, modernOutput: true, faults: [...(tool.faults ?? []), said] };
}

/** Reads prompts, resources or templates in the same way. */
export function readItems(texts: readonly string[], list: ListName, rules: ItemRules): Reading<Item> {
  return read(texts, list, rules, (item) => item);
}

/** Returns the known entries that an incomplete reading does not name, since they may be in the missing part. */
export function unread(before: readonly Item[], { items, missing }: Definitions): readonly Item[] {
  const named = new Set([...items, ...missing].map(({ name }) => name));
  let room = most.characters;
  const rest = before.filter(({ name, text }) => !named.has(name) && (room -= text.length) >= 0);
  return rest.slice(0, most.items);
}

function* read<T extends Item>(
  texts: readonly string[],
  list: ListName,
  rules: ItemRules,
  make: (item: Item, definition: Record<string, unknown>) => T | string,
): Reading<T> {
  const { key, noun } = lists[list];
  const items: T[] = [];
  const missing: MissingItem[] = [];
  // Identical definitions count as one: pages overlap, and some servers ignore the cursor.
  const definitions: ReturnType<typeof readDefinition>[] = [];
  for (const text of new Set(texts)) {
    definitions.push(readDefinition(text, key));
    yield;
  }
  const times = Map.groupBy(definitions, ({ name }) => name);
  for (const { name, text, definition } of definitions) {
    yield;
    if (name === "" || name.length > maxNameLength) {
      const what = name === "" ? "without a" : `with more than ${maxNameLength} characters in its`;
      missing.push({ name: cut(name, 100) || "?", reason: `a ${noun} ${what} ${key}` });
      continue;
    }
    // The first definition of a name must not win: it is unknown which one a caller would mean.
    const several = (times.get(name)?.length ?? 0) > 1 ? `several ${noun}s have this ${key}` : null;
    const item = several ?? unscannable(text, rules.limits) ?? itemOf(name, text, list);
    const made = typeof item === "string" ? item : make(item, definition);
    if (typeof made === "string") missing.push({ name, reason: made });
    else items.push(made);
  }
  return { items, missing };
}

/** Returns the item without the parts that clients could not read, or why they could not read it at all. */
function itemOf(name: string, definition: string, list: ListName): Item | string {
  const { text, faults } = readable(definition, list);
  if (!name.isWellFormed()) return `its ${lists[list].key} contains half of a surrogate pair`;
  if (text === null) return faults.at(-1) ?? "it cannot be read";
  return faults.length === 0 ? { name, text } : { name, text, faults };
}

/** Parses a definition; the name is empty if it has none. Throws on invalid JSON, which a damaged store may hold. */
function readDefinition(text: string, key: string) {
  const value: unknown = JSON.parse(text);
  const definition = isObject(value) ? value : {};
  const name = definition[key];
  return { name: typeof name === "string" ? name : "", text, definition };
}

function unscannable(text: string, limits: ScanLimits): string | null {
  const fault = thrownBy(() => scan(text, { ...limits, depth: Math.min(limits.depth, maxDefinitionDepth) }));
  return fault === null ? null : messageOf(fault);
}
