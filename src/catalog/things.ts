import type { Item, Route, Tool } from "../core/call.ts";
import { type ListName, lists } from "../core/lists.ts";
import { canonicalName, plainRoute } from "../core/name.ts";
import type { Missing } from "../core/ports.ts";
import type { Listing } from "../core/upstream.ts";
import { assignNames, type Candidate, type Named, type NamedServer, type Why } from "./names.ts";
import type { NamesOptions } from "./options.ts";
import { indexTemplates, type Templates } from "./templates.ts";
import { assignUris } from "./uris.ts";

/** One offered thing: its route, and its definition as its server wrote it. */
export type Thing = { readonly route: Route; readonly text: string };

/** One thing that is not offered. Its route is the one it would have had, so that policy can say who may know of it. */
export type MissingThing = Missing & Why & { readonly list: ListName; readonly route: Route };

/** Everything that is offered, each list sorted by wire name. */
export type Things = Readonly<Record<ListName, readonly Thing[]>>;

type Gathering = {
  readonly servers: readonly NamedServer[];
  /** Listings of these servers and of the gateway's own, no others. */
  readonly listings: readonly Listing[];
  readonly names: NamesOptions;
  /** A thing of the previous catalog, by list and canonical name. */
  readonly known: (list: ListName, canonical: string) => Thing | null;
};

/** What a server lists, with what naming it depends on. */
type Listed = Candidate & { readonly item: Item };

/** The order of every list: by wire name, code unit by code unit. */
export const byWire = (a: Thing, b: Thing): number =>
  a.route.wire < b.route.wire ? -1 : a.route.wire > b.route.wire ? 1 : 0;

type Gathered = {
  readonly things: Things;
  readonly missing: readonly MissingThing[];
  readonly templates: Templates;
};

/** Gives a wire name or URI to everything that servers list. Things that cannot have one are in `missing`. */
export function gather(from: Gathering): Gathered {
  const missing: MissingThing[] = [];
  const named = (list: ListName, assign: (candidates: readonly Listed[]) => ReadonlyMap<object, Named>): Thing[] => {
    missing.push(...leftOut(from, list));
    const candidates = candidatesOf(from, list);
    const names = assign(candidates);
    const things: Thing[] = [];
    for (const candidate of candidates) {
      const name = names.get(candidate);
      if (typeof name === "string") things.push(thingOf(from, list, candidate, name));
      else missing.push(missingOf(list, candidate.server, candidate.name, name ?? "it has no name"));
    }
    return things.toSorted(byWire);
  };
  const byName = (candidates: readonly Listed[]) => assignNames(candidates, from.names.max);
  const [tools, prompts] = [named("tools", byName), named("prompts", byName)];
  const resourceTemplates = named("resourceTemplates", (candidates) => assignUris(candidates));
  const templates = indexTemplates(resourceTemplates.map(({ route }) => route));
  const resources = named("resources", (candidates) => assignUris(candidates, templates.claims()));
  return { things: { tools, prompts, resources, resourceTemplates }, missing, templates };
}

/** What servers list, but not in a form in which it can be offered. */
function leftOut({ listings }: Gathering, list: ListName): MissingThing[] {
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

/** The thing of the previous catalog if nothing changed, since others compare things by identity. */
function thingOf({ known }: Gathering, list: ListName, { server, item }: Listed, wire: string): Thing {
  const before = known(list, canonicalName(server, item.name));
  const shownTo = isTool(item) ? item.shownTo : undefined;
  if (before?.route.wire === wire && before.text === item.text && before.route.tool?.shownTo === shownTo) return before;
  const route = routeOf(list, server, item.name, wire);
  return { route: isTool(item) ? { ...route, tool: item } : route, text: item.text };
}

/** The route of a thing that is listed. */
export function routeOf(list: ListName, server: string, name: string, wire: string): Route {
  const route = plainRoute(lists[list].kind, server, name, wire);
  return list === "resourceTemplates" ? { ...route, template: true } : route;
}

/** The entry of a thing that cannot be offered. */
export function missingOf(list: ListName, server: string, name: string, why: string | Why): MissingThing {
  const canonical = canonicalName(server, name);
  const { reason, told } = typeof why === "string" ? { reason: why, told: why } : why;
  return { list, kind: lists[list].kind, canonical, reason, told, route: routeOf(list, server, name, canonical) };
}
