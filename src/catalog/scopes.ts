import { kinds, type Route } from "../core/call.ts";
import { compileGlob } from "../core/glob.ts";
import { mapLists } from "../core/lists.ts";
import { ownServer, splitCanonical } from "../core/name.ts";
import { anyOf } from "../core/rights.ts";
import { compileUriGlob, readingsOf, readingsOfTemplate } from "../core/uri-readings.ts";
import { byWire, type Entries, type Entry, missingOf, type MissingEntry } from "./entries.ts";
import { clashes, skeleton } from "./names.ts";
import type { ToolsetOptions } from "./options.ts";

/** What one endpoint offers: everything, the items of one server, or a toolset. */
export type Scope = {
  /** Id of the server or toolset; empty for the scope of everything. */
  readonly id: string;
  readonly servers: ReadonlySet<string>;
  /** A right to any of these means access to the scope's servers. Created once, since policy caches plans by route. */
  readonly rights: readonly Route[];
  readonly entries: Entries;
  readonly missing: readonly MissingEntry[];
  /** The description of the endpoint; null except for toolsets. */
  readonly description: string | null;
  /** Whether the scope includes this route. A URI in no list is not among `entries`, so it is checked here. */
  admits(route: Route): boolean;
  /** Whether the scope admits every URI that a template can produce. */
  admitsAll(route: Route): boolean;
  /** The wire names that the scope gives to entries, by canonical name. */
  readonly rename: Readonly<Record<string, string>>;
  named(list: "tools" | "prompts", wire: string): Route | null;
  /** Returns the tool with a canonical name, or null. */
  tool(canonical: string): Entry | null;
};

function scopeOf(part: Omit<Scope, "named" | "tool" | "rights">): Scope {
  const index = (entries: readonly Entry[]) => new Map(entries.map((entry) => [entry.wire, entry] as const));
  const names = { tools: index(part.entries.tools), prompts: index(part.entries.prompts) };
  const rights = [...part.servers].flatMap((server) => kinds.map((kind) => anyOf(kind, server)));
  const named = (list: "tools" | "prompts", wire: string) => names[list].get(wire) ?? null;
  // The index is made when first needed, since clients normally use the names on the wire.
  let tools: ReadonlyMap<string, Entry> | null = null;
  const tool = (canonical: string): Entry | null => {
    tools ??= new Map(part.entries.tools.map((entry) => [entry.canonical, entry] as const));
    return tools.get(canonical) ?? null;
  };
  return { ...part, rights, named, tool };
}

/** The defaults for what only toolsets have. */
const plain = { description: null, rename: {} } as const;

/** Returns the scope of `/mcp`. */
export function wholeScope(offered: Pick<Scope, "servers" | "entries" | "missing">): Scope {
  return scopeOf({ ...plain, ...offered, id: "", admits: () => true, admitsAll: () => true });
}

/** Returns the scope of one server. Entries have the same names as at `/mcp`. */
export function serverScope(whole: Scope, id: string): Scope {
  const isIts = ({ server }: Route): boolean => server === id;
  return scopeOf({
    ...plain,
    id,
    servers: new Set([id]),
    entries: mapLists((list) => whole.entries[list].filter(isIts)),
    missing: whole.missing.filter(isIts),
    admits: isIts,
    admitsAll: isIts,
  });
}

/** Returns the scope of a toolset: what it includes and does not exclude, with its renames applied. */
export function toolsetScope(whole: Scope, options: ToolsetOptions, before: Scope | null): Scope {
  const { isServer, admits, admitsAll } = selector(options);
  const renames = Object.keys(options.rename).length > 0;
  const collided: MissingEntry[] = [];
  const entries = mapLists((list) => {
    const chosen = whole.entries[list].filter(admits);
    if (!renames || (list !== "tools" && list !== "prompts")) return chosen;
    const known = new Map(before?.entries[list].map((entry) => [entry.canonical, entry]));
    const renamed = chosen.map((entry) => renameOne(entry, options.rename, known));
    const alike = clashes(renamed, ({ wire }) => skeleton(wire));
    for (const { one, others } of alike) {
      const reason = `toolset ${options.id}: its name cannot be distinguished from that of ${others}; rename one`;
      const told = "its name cannot be distinguished from another name";
      collided.push(missingOf(list, one.server, one.name, { reason, told }));
    }
    const left = new Set(alike.map(({ one }) => one));
    return renamed.filter((entry) => !left.has(entry)).toSorted(byWire);
  });
  return scopeOf({
    id: options.id,
    servers: new Set([...whole.servers].filter(isServer)),
    description: options.description ?? null,
    entries,
    missing: [...whole.missing.filter((each) => (each.cut ? isServer(each.server) : admits(each))), ...collided],
    rename: options.rename,
    admits,
    admitsAll,
  });
}

function renameOne(entry: Entry, rename: ToolsetOptions["rename"], known: ReadonlyMap<string, Entry>): Entry {
  const { canonical } = entry;
  const wire = rename[canonical];
  if (wire === undefined || wire === entry.wire) return entry;
  const old = known.get(canonical);
  if (old?.wire === wire && old.text === entry.text && old.tool === entry.tool) return old;
  return { ...entry, wire };
}

type Selection = {
  readonly isServer: (server: string) => boolean;
  /** Whether a route is selected; null if only some of the URIs that the route may stand for are. */
  readonly takes: (route: Route) => boolean | null;
};

function compileSelection(text: string): Selection {
  const { server, tool: name } = splitCanonical(text) ?? { server: text, tool: "*" };
  const matches = compileGlob(server);
  const isName = compileGlob(name);
  const isUri = compileUriGlob(name);
  // As in rules, the gateway's own tools are selected only by their exact server name.
  const isServer = (id: string): boolean => (id === ownServer ? server === ownServer : matches(id));
  return {
    isServer,
    takes({ server: id, kind, name: own, template }) {
      if (!isServer(id)) return false;
      if (template) return isUri(readingsOfTemplate(own), own);
      return kind === "resource" ? isUri(readingsOf(own), null) : isName(own);
    },
  };
}

function selector({ include, exclude }: ToolsetOptions) {
  const included = include.map(compileSelection);
  const excluded = exclude.map(compileSelection);
  const leads = (route: Route, some: boolean): boolean =>
    included.some(({ takes }) => takes(route) ?? some) && !excluded.some(({ takes }) => takes(route) ?? !some);
  // A template is offered if some of its URIs are selected; of a URI with several readings, all must be selected.
  return {
    isServer: (server: string) => included.some((each) => each.isServer(server)),
    admits: (route: Route) => leads(route, route.template === true),
    admitsAll: (route: Route) => leads(route, false),
  };
}
