import type { Item, Route, Tool } from "../core/call.ts";
import { type ListName, lists } from "../core/lists.ts";
import { memoize } from "../core/memoize.ts";
import { canonicalName, ownServer, plainRoute } from "../core/name.ts";
import type { Missing } from "../core/ports.ts";
import type { Listing } from "../core/upstream.ts";
import { hasLongHost } from "../core/uri-readings.ts";
import { appUri } from "./app-uri.ts";
import { assignNames, type Candidate, type Named, type NamedServer, type Why } from "./names.ts";
import type { NamesOptions } from "./options.ts";
import { indexTemplates, type Templates } from "./templates.ts";
import { assignUris, isApp } from "./uris.ts";

/** An entry of a list: the route to an item that a server offers, with its definition as the server wrote it. */
export type Entry = Route & { readonly text: string };

/** An item that is not offered, with the route that it would have had, so that policy can decide who may know of it. */
export type MissingEntry = Route & Missing & Why & { readonly list: ListName };

/** Everything that is offered; each list is sorted by wire name. */
export type Entries = Readonly<Record<ListName, readonly Entry[]>>;

type Gathering = {
  readonly servers: readonly NamedServer[];
  /** Listings of these servers and of the gateway itself, no others. */
  readonly listings: readonly Listing[];
  readonly names: NamesOptions;
  /** Returns an entry of the previous catalog, by list and canonical name. */
  readonly known: (list: ListName, canonical: string) => Entry | null;
};

/** An item that a server lists, with what its wire name depends on. */
type Listed = Candidate & { readonly item: Item };

/** Compares entries in the order of every list: by wire name, code unit by code unit. */
export const byWire = (a: Entry, b: Entry): number => (a.wire < b.wire ? -1 : a.wire > b.wire ? 1 : 0);

type Gathered = {
  readonly entries: Entries;
  /** Apps that tools name but that their server does not list. */
  readonly apps: readonly Route[];
  readonly missing: readonly MissingEntry[];
  readonly templates: Templates;
};

/** Gives a wire name or URI to every listed item; items that cannot have one are in `missing`. */
export function gather(from: Gathering): Gathered {
  const missing: MissingEntry[] = [];
  const named = (list: ListName, assign: (candidates: readonly Listed[]) => ReadonlyMap<object, Named>): Entry[] => {
    missing.push(...leftOut(from, list));
    const candidates = candidatesOf(from, list);
    const names = assign(candidates);
    const entries: Entry[] = [];
    for (const candidate of candidates) {
      const name = names.get(candidate);
      if (typeof name === "string") entries.push(entryOf(from, list, candidate, name));
      else missing.push(missingOf(list, candidate.server, candidate.name, name ?? "it has no name"));
    }
    return entries.toSorted(byWire);
  };
  const ids = [ownServer, ...from.servers.map(({ id }) => id)];
  const byName = (candidates: readonly Listed[]) => assignNames(candidates, ids, from.names.max);
  const [tools, prompts] = [named("tools", byName), named("prompts", byName)];
  const servers = new Set(ids);
  const resourceTemplates = named("resourceTemplates", (candidates) => assignUris(candidates, servers));
  const templates = indexTemplates(resourceTemplates);
  // Python clients reject a whole list if one of its URIs does not parse, such as `my_server://x`.
  const rules = { claims: templates.claims(), isUri: (text: string) => !hasLongHost(text) && URL.canParse(text) };
  const apps: Route[] = [];
  const resources = named("resources", (candidates) => {
    const unlisted = appsOf(from, candidates);
    const uris = assignUris([...candidates, ...unlisted], servers, rules);
    for (const one of unlisted) {
      const wire = uris.get(one);
      if (typeof wire === "string") apps.push(routeOf("resources", one.server, one.name, wire));
    }
    return uris;
  });
  return { entries: { tools, prompts, resources, resourceTemplates }, apps, missing, templates };
}

/** Returns the URI of a tool's app, or null if it has none. */
export const appOf = memoize(({ text }: Tool) => appUri(text));

/** Returns the apps that only tools name: a server need not list them. */
function appsOf({ listings }: Gathering, listed: readonly Candidate[]): Candidate[] {
  const known = new Set(listed.map(({ server, name }) => canonicalName(server, name)));
  return listings.flatMap(({ server, tools }) => {
    const uris = new Set(tools.flatMap((tool) => appOf(tool) ?? []));
    const unlisted = [...uris].filter((uri) => isApp(uri) && !known.has(canonicalName(server, uri)));
    return unlisted.map((name): Candidate => ({ server, prefix: "always", name }));
  });
}

/** Returns the items that servers list in a form in which they cannot be offered. */
function leftOut({ listings }: Gathering, list: ListName): MissingEntry[] {
  return listings.flatMap(({ server, missing = [] }) =>
    missing
      .filter((one) => one.list === list)
      .map(({ name, reason }) => {
        const what = missingOf(list, server, name ?? lists[list].method, reason);
        return name === null ? { ...what, cut: true } : what;
      }),
  );
}

function candidatesOf({ servers, listings }: Gathering, list: ListName): Listed[] {
  const prefixes = new Map(servers.map(({ id, prefix }) => [id, prefix]));
  return listings.flatMap((listing) => {
    const { server } = listing;
    const prefix = prefixes.get(server) ?? "always";
    return listing[list].map((item: Item) => ({ server, prefix, name: item.name, item }));
  });
}

const isTool = (item: Item): item is Tool => "inputSchema" in item;

/** Returns the previous catalog's entry if nothing changed, since other code compares routes by identity. */
function entryOf({ known }: Gathering, list: ListName, { server, item }: Listed, wire: string): Entry {
  const tool = isTool(item) ? item : null;
  const before = known(list, canonicalName(server, item.name));
  if (before?.wire === wire && before.text === item.text && before.tool?.shownTo === tool?.shownTo) return before;
  return { ...routeOf(list, server, item.name, wire), tool, text: item.text };
}

/** Returns the route of a listed item. */
export function routeOf(list: ListName, server: string, name: string, wire: string): Route {
  const route = plainRoute(lists[list].kind, server, name, wire);
  return list === "resourceTemplates" ? { ...route, template: true } : route;
}

/** Returns the entry of an item that cannot be offered. */
export function missingOf(list: ListName, server: string, name: string, why: string | Why): MissingEntry {
  const reasons = typeof why === "string" ? { reason: why, told: why } : { ...why, unnamed: true as const };
  return { ...routeOf(list, server, name, canonicalName(server, name)), list, ...reasons };
}
