import { kinds, type Route } from "../core/call.ts";
import { compileGlob } from "../core/glob.ts";
import { anyOf, ownServer, splitCanonical } from "../core/name.ts";
import { type ListName, mapLists } from "../core/lists.ts";
import { compileUriGlob, readingsOf, readingsOfTemplate } from "../core/uri-readings.ts";
import { others, skeleton } from "./names.ts";
import type { ToolsetOptions } from "./options.ts";
import { byWire, missingOf, type MissingThing, type Thing, type Things } from "./things.ts";

/** What one endpoint offers: everything, one server's things, or those of a toolset. */
export type Scope = {
  /** Id of the server or toolset; empty for the scope of everything. */
  readonly id: string;
  readonly servers: ReadonlySet<string>;
  /** Who may use one of these may use something of the scope's servers. Made once, since policy keeps plans by route. */
  readonly rights: readonly Route[];
  readonly things: Things;
  readonly missing: readonly MissingThing[];
  /** Those of `missing` that are missing only in this scope, because their new names cannot be told apart. */
  readonly collided: readonly MissingThing[];
  /** The description of the endpoint; null except for toolsets. */
  readonly description: string | null;
  /** Whether the scope may lead to this route. A URI in no list is not among `things`, so it is checked here. */
  admits(route: Route): boolean;
  /** Whether the scope admits every URI that a template makes. */
  admitsAll(route: Route): boolean;
  /** The wire names that it gives to things, by canonical name. */
  readonly rename: Readonly<Record<string, string>>;
  /** The tool or prompt of this wire name. */
  named(list: "tools" | "prompts", wire: string): Route | null;
};

/** Completes a scope with its indexes by name. */
function scopeOf(part: Omit<Scope, "named" | "rights">): Scope {
  const index = (things: readonly Thing[]) => new Map(things.map(({ route }) => [route.wire, route] as const));
  const names = { tools: index(part.things.tools), prompts: index(part.things.prompts) };
  const rights = [...part.servers].flatMap((server) => kinds.map((kind) => anyOf(kind, server)));
  return { ...part, rights, named: (list, wire) => names[list].get(wire) ?? null };
}

/** What only toolsets have. */
const plain = { collided: [], description: null, rename: {} } as const;

/** The scope of `/mcp`. */
export function wholeScope(offered: Pick<Scope, "servers" | "things" | "missing">): Scope {
  return scopeOf({ ...plain, ...offered, id: "", admits: () => true, admitsAll: () => true });
}

/** The scope of one server; its things have the same names as at `/mcp`. */
export function serverScope(whole: Scope, id: string): Scope {
  const isIts = ({ server }: Route): boolean => server === id;
  return scopeOf({
    ...plain,
    id,
    servers: new Set([id]),
    things: mapLists((list) => whole.things[list].filter(({ route }) => isIts(route))),
    missing: whole.missing.filter(({ route }) => isIts(route)),
    admits: isIts,
    admitsAll: isIts,
  });
}

/** The scope of a toolset: what it includes and does not exclude, partly renamed. */
export function toolsetScope(whole: Scope, options: ToolsetOptions, before: Scope | null): Scope {
  const { isServer, admits, admitsAll } = selector(options);
  const renames = Object.keys(options.rename).length > 0;
  const collided: MissingThing[] = [];
  const things = mapLists((list) => {
    const chosen = whole.things[list].filter(({ route }) => admits(route));
    if (!renames || (list !== "tools" && list !== "prompts")) return chosen;
    const known = new Map(before?.things[list].map((thing) => [thing.route.canonical, thing]));
    const { apart, alike } = tellApart(
      list,
      options.id,
      chosen.map((thing) => renameOne(thing, options.rename, known)),
    );
    collided.push(...alike);
    return apart;
  });
  return scopeOf({
    id: options.id,
    servers: new Set([...whole.servers].filter(isServer)),
    description: options.description ?? null,
    things,
    missing: [...whole.missing.filter(({ route, cut }) => (cut ? isServer(route.server) : admits(route))), ...collided],
    collided,
    rename: options.rename,
    admits,
    admitsAll,
  });
}

/** The things of a toolset whose names can be told apart, and those that are left out since theirs cannot. */
function tellApart(list: ListName, id: string, things: readonly Thing[]) {
  const apart: Thing[] = [];
  const alike: MissingThing[] = [];
  for (const group of Map.groupBy(things, ({ route }) => skeleton(route.wire)).values()) {
    const all = group.map(({ route }) => route.canonical);
    for (const [index, thing] of group.entries()) {
      const { server, name } = thing.route;
      const why = {
        reason: `toolset ${id}: its name cannot be told from that of ${others(all, index)}; rename one`,
        told: "its name cannot be told from another's",
      };
      if (group.length === 1) apart.push(thing);
      else alike.push(missingOf(list, server, name, why));
    }
  }
  return { apart: apart.toSorted(byWire), alike };
}

function renameOne(thing: Thing, rename: ToolsetOptions["rename"], known: ReadonlyMap<string, Thing>): Thing {
  const { canonical } = thing.route;
  const wire = Object.hasOwn(rename, canonical) ? rename[canonical] : undefined;
  if (wire === undefined || wire === thing.route.wire) return thing;
  const old = known.get(canonical);
  if (old?.route.wire === wire && old.text === thing.text && old.route.tool === thing.route.tool) return old;
  return { route: { ...thing.route, wire }, text: thing.text };
}

type Selection = {
  readonly isServer: (server: string) => boolean;
  /** Whether it selects the thing of a route; null if it selects only some of the URIs that the thing may stand for. */
  readonly takes: (route: Route) => boolean | null;
};

function compileSelection(text: string): Selection {
  const { server, tool: name } = splitCanonical(text) ?? { server: text, tool: "*" };
  const matches = compileGlob(server);
  const isName = compileGlob(name);
  const isUri = compileUriGlob(name);
  // As in a rule, the gateway's own tools are selected only by their full server name.
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
  // A template is offered if some of its URIs are selected. A URI with several readings has to pass with all of them.
  return {
    isServer: (server: string) => included.some((each) => each.isServer(server)),
    admits: (route: Route) => leads(route, route.template === true),
    admitsAll: (route: Route) => leads(route, false),
  };
}
