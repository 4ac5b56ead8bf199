import { isDeepStrictEqual } from "node:util";
import type { Item, Tool } from "../../core/call.ts";
import type { Era } from "../../core/inbound.ts";
import { atOnce, inTurns, type Turn } from "../../core/turns.ts";
import { isObject } from "../../core/json.ts";
import type { LogFacts } from "../../core/log.ts";
import { changedKey, type ListName, listNames, lists, mapLists } from "../../core/lists.ts";
import { cut } from "../../core/text.ts";
import type { Listing, Offers } from "../../core/upstream.ts";
import { isNotServerFault, reasonOf } from "../faults.ts";
import type { SetHost, Terms } from "../host.ts";
import { listIdentityOf } from "../identity.ts";
import type { Greeting, Instance } from "../link/link.ts";
import { holdListen, type ListenFilter, type Listening } from "../link/listen.ts";
import { type Definitions, drainList, type MissingItem, readItems, readTools, unread } from "./listing.ts";
import type { ServerOptions } from "../options.ts";

/** What one server offers, or offered when it was last seen. */
export type Inventory = Offers & {
  /** Tools that only some kinds of clients are shown; known once such a client has connected. */
  readonly conditional: readonly Tool[];
  /** The definitions that are not offered, by list, so that reading one list again leaves the others alone. */
  readonly missing: Readonly<Record<ListName, readonly MissingItem[]>>;
  readonly capabilities: Listing["capabilities"];
  readonly instructions: string | null;
  readonly era: Era | null;
  /** Epoch µs of the last successful listing. */
  readonly listedAt: number | null;
  /** Lists that could not be read last time. */
  readonly failed: readonly ListName[];
};

const nothing: Inventory = {
  ...mapLists(() => []),
  conditional: [],
  missing: mapLists(() => []),
  capabilities: null,
  instructions: null,
  era: null,
  listedAt: null,
  failed: [],
};

/** Returns the stored inventory of a server; empty if there is none or, with a warning, if it cannot be read. */
export function recall(options: ServerOptions, host: SetHost): Inventory {
  try {
    const remembered = host.lists.recall(options.id, listIdentityOf(options));
    if (!remembered) return nothing;
    const { era, instructions } = remembered;
    const tools = atOnce(readTools(remembered.tools, host));
    const read = mapLists((list) => (list === "tools" ? tools : atOnce(readItems(remembered[list], list, host))));
    const capabilities: unknown = JSON.parse(remembered.capabilities);
    return {
      ...nothing,
      ...mapLists((list) => read[list].items),
      tools: tools.items,
      missing: mapLists((list) => read[list].missing),
      capabilities: isObject(capabilities) ? capabilities : null,
      instructions,
      era,
    };
  } catch (error) {
    const facts = { server: options.id, cause: String(error) };
    host.log.warn("the stored lists of a server cannot be read; the server is asked again", facts);
    return nothing;
  }
}

/** Returns the lists that a server declared. A server that declared none is still asked for tools. */
export function offered({ capabilities }: Greeting): readonly ListName[] {
  // A server whose capabilities are not known may have any list.
  if (capabilities === null) return listNames;
  const declared = listNames.filter((list) => isObject(capabilities[lists[list].capability]));
  return declared.length > 0 ? declared : ["tools"];
}

/** Returns the filter for the lists whose changes a server announces; null if it announces none. */
function listenFilter(greeting: Greeting): ListenFilter | null {
  const tells = offered(greeting).filter((list) => {
    const declared = greeting.capabilities?.[lists[list].capability];
    return isObject(declared) && declared.listChanged === true;
  });
  if (tells.length === 0) return null;
  return Object.fromEntries(tells.map((list) => [changedKey(lists[list].capability), true] as const));
}

/** Receives changes of lists, and notice that changes may have been missed. */
type ChangeListener = Pick<Listening, "heard" | "missed">;

/**
 * Listens for changed lists of a modern instance, which announces them only on a listening request, until the instance
 * ends or the controller aborts. Null if the instance announces none.
 */
export function listenForChanges(instance: Instance, listener: ChangeListener): AbortController | null {
  const filter = instance.peer.era === "modern" ? listenFilter(instance.peer) : null;
  if (!filter) return null;
  const listen = new AbortController();
  const end = (): void => listen.abort();
  void instance.link.ended.then(end);
  void holdListen({ instance, filter, ...listener }, listen.signal).then(end);
  return listen;
}

type InventoryContext = Terms & {
  readonly instance: Instance;
  /** Whether the tools known before are the server's own; otherwise they are those of its predecessor, if any. */
  readonly listed: boolean;
  /** The turn in which the lists are read; it measures the time spent. */
  readonly turn: Turn;
};

/**
 * Reads some or all lists of a server again, and stores the result. A list that is unchanged or cannot be read now
 * stays the same object. Throws only if no list can be read, and either the server is at fault or no list was ever
 * read.
 */
export async function readInventory(
  of: InventoryContext,
  old: Inventory,
  which: readonly ListName[],
): Promise<Inventory> {
  const { instance, options, host } = of;
  const { era, capabilities, instructions } = instance.peer;
  const has = offered(instance.peer);
  const asked = which.filter((list) => has.includes(list));
  const results = await Promise.all(asked.map((list) => listOne(of, old, list)));
  const failures = results.filter(({ failure }) => failure !== null);
  const first = failures[0]?.failure;
  const none = failures.length === has.length;
  const excused = old.listedAt !== null && failures.every(({ failure }) => isNotServerFault(failure));
  if (first && none && !excused) throw first;
  const now = mapLists((list): Definitions => {
    const read = results.find((one) => one.list === list);
    if (read) return read;
    const keeps = has.includes(list);
    // An empty list stays the same object.
    return { items: keeps || old[list].length === 0 ? old[list] : [], missing: keeps ? old.missing[list] : [] };
  });
  const next: Inventory = {
    ...old,
    ...Object.fromEntries(listNames.map((list) => [list, now[list].items])),
    missing: mapLists((list) => now[list].missing),
    capabilities,
    instructions,
    era,
    listedAt: none ? old.listedAt : host.clock.now(),
    failed: [
      ...old.failed.filter((list) => has.includes(list) && !asked.includes(list)),
      ...failures.flatMap(({ list, missing }) => (missing.length > 0 ? list : [])),
    ],
  };
  // The next start would take an inventory without the tools for a complete one.
  const isKnown = of.listed || !next.failed.includes("tools");
  of.turn.begin();
  if (isKnown && (!of.listed || old.listedAt === null || isNew(next, old))) remember(options, host, next);
  of.turn.over();
  return next;
}

/** Reports whether anything visible outside this folder has changed. */
export const differs = (a: Inventory, b: Inventory): boolean =>
  isNew(a, b) || a.conditional !== b.conditional || !isDeepStrictEqual(a.missing, b.missing);

/** Reports whether anything that is stored has changed. */
function isNew(a: Inventory, b: Inventory): boolean {
  return (
    listNames.some((list) => a[list] !== b[list]) ||
    a.era !== b.era ||
    a.instructions !== b.instructions ||
    JSON.stringify(a.capabilities) !== JSON.stringify(b.capabilities)
  );
}

type One = Definitions & { readonly list: ListName; readonly failure: Error | null };

async function listOne(of: InventoryContext, old: Inventory, list: ListName): Promise<One> {
  const { options, host, turn } = of;
  const { log } = host;
  const server = options.id;
  try {
    const { texts, warning, late } = await drainList(of.instance, list);
    if (warning !== null && !gapsIn(old, list).includes(warning)) log.warn(warning, { server });
    const rest = warning === null ? [] : [{ name: null, reason: warning }];
    const read = await (list === "tools" ? toolsIn(texts, of, old) : inTurns(readItems(texts, list, host), turn));
    const before = old[list];
    for (const { what, ...facts } of newFaults({ items: before, missing: old.missing[list] }, read))
      log.warn(`a ${lists[list].noun} is ${what}`, { server, ...facts });
    const items = late ? [...read.items, ...unread(before, read)] : read.items;
    const same = items.length === before.length && items.every((item, at) => isSame(item, before[at]));
    const isKnown = before.length > 0 || old.listedAt !== null;
    const changes = same || !isKnown ? null : changesIn(before, items);
    if (changes) {
      const facts = { server, list, ...changes };
      // Only identical changes are counted together, because the names in every change must reach the log.
      log.info("the lists of a server have changed", facts, JSON.stringify(facts));
    }
    return { list, items: same ? before : items, missing: [...read.missing, ...rest], failure: null };
  } catch (error) {
    const reason = reasonOf(error);
    const failure = error instanceof Error ? error : new Error(reason);
    // Some servers reject a list that they do not have with a different error. A list that was read before does exist.
    if (of.instance.peer.capabilities === null && list !== "tools" && old[list].length === 0)
      return { list, items: old[list], missing: [], failure };
    if (!gapsIn(old, list).includes(reason))
      log.warn("a list of a server cannot be read", { server, list: lists[list].method, reason });
    return { list, items: old[list], missing: [{ name: null, reason }], failure };
  }
}

/** Returns the definitions that are newly left out, or newly offered with parts removed. */
function newFaults(before: Definitions, now: Definitions): (MissingItem & { readonly what: string })[] {
  const faultsOf = ({ items, missing }: Definitions) => [
    ...missing.map((one) => ({ what: "not offered", ...one })),
    ...items
      .filter(({ faults }) => faults)
      .map((one) => ({
        what: "offered without the parts that clients could not read",
        name: one.name,
        reason: reasonsOf(one),
      })),
  ];
  const known = new Set(faultsOf(before).map((fault) => JSON.stringify(fault)));
  return faultsOf(now).filter((fault) => !known.has(JSON.stringify(fault)));
}

/** Reads tools, and warns once of those whose arguments are checked against only a part of their schema. */
async function toolsIn(texts: readonly string[], { options, host, turn }: InventoryContext, old: Inventory) {
  const read = await inTurns(readTools(texts, host), turn);
  const quote = (pattern: string): string => JSON.stringify(cut(pattern, 100));
  const patternsOf = (tool: Tool): string => cut(host.unchecked(tool).map(quote).join(", "), 500);
  const known = new Map(old.tools.map((tool) => [tool.name, tool]));
  for (const tool of read.items) {
    const patterns = patternsOf(tool);
    const before = known.get(tool.name);
    if (patterns === "" || (before && patterns === patternsOf(before))) continue;
    const facts = { server: options.id, name: tool.name, patterns };
    host.log.warn("a tool's arguments are not checked against patterns that cannot be matched in bounded time", facts);
  }
  return read;
}

const reasonsOf = ({ faults = [] }: Item): string => faults.join("; ");

const isSame = (a: Item, b: Item | undefined): boolean =>
  b !== undefined && a.text === b.text && reasonsOf(a) === reasonsOf(b);

/**
 * Returns what changed in a known list, by name: rules match names, so a new name may match other rules. Null if only
 * the order changed. Compares only the texts, because a stored definition does not tell which parts were left out.
 */
function changesIn(before: readonly Item[], now: readonly Item[]): LogFacts | null {
  const [old, names] = [new Map(before.map((item) => [item.name, item])), new Set(now.map(({ name }) => name))];
  const told = (items: readonly Item[]) => cut(items.map(({ name }) => name).join(", "), 500) || undefined;
  const added = told(now.filter(({ name }) => !old.has(name)));
  const removed = told(before.filter(({ name }) => !names.has(name)));
  const changed = told(now.filter(({ name, text }) => old.has(name) && old.get(name)?.text !== text));
  return (added ?? removed ?? changed) === undefined ? null : { added, removed, changed };
}

/**
 * Stores the inventory for the next start. A locked or full database is not the server's fault, so only logs failures.
 */
function remember(options: ServerOptions, { lists: store, log }: SetHost, now: Inventory): void {
  try {
    store.remember(options.id, listIdentityOf(options), {
      era: now.era ?? "legacy",
      ...mapLists((list) => now[list].map(({ text }) => text)),
      capabilities: JSON.stringify(now.capabilities),
      instructions: now.instructions,
    });
  } catch (error) {
    log.warn("a list was not stored", { server: options.id, cause: String(error) });
  }
}

/** Returns why a list is not known in full. */
const gapsIn = ({ missing }: Inventory, list: ListName): string[] =>
  missing[list].filter(({ name }) => name === null).map(({ reason }) => reason);

/** Returns why the lists of a server are not known in full; null if they are. */
export function unknownText(now: Inventory): string | null {
  return listNames.flatMap((list) => gapsIn(now, list)).join("; ") || null;
}

/** Returns the inventory as the catalog sees it. */
export function listingOf(server: string, now: Inventory, reason: string | null): Listing {
  const { prompts, resources, resourceTemplates, capabilities, instructions } = now;
  const stale = now.listedAt === null || reason !== null;
  const usual = new Set(now.tools.map(({ name }) => name));
  const tools = [...now.tools, ...now.conditional.filter(({ name }) => !usual.has(name))];
  const missing = listNames.flatMap((list) => now.missing[list].map((one) => ({ list, ...one })));
  return { server, tools, prompts, resources, resourceTemplates, stale, reason, capabilities, instructions, missing };
}
