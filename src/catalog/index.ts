import type { Route, Tool } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { Era } from "../core/inbound.ts";
import { canonicalName, ownServer, unknownTool } from "../core/name.ts";
import type { Prefix } from "../core/options.ts";
import type { Catalog, Hidden, Listing, Policy, Validator } from "../core/ports.ts";
import { cut } from "../core/text.ts";
import { headerNames } from "../mcp/headers.ts";
import { definitionText } from "./definition.ts";
import { createListCache } from "./list-cache.ts";
import { assignNames, type Candidate } from "./names.ts";
import type { NamesOptions } from "./options.ts";

export type CatalogInit = {
  readonly servers: readonly { readonly id: string; readonly prefix: Prefix }[];
  readonly listings: readonly Listing[];
  readonly names: NamesOptions;
  readonly policy: Policy;
  readonly validator: Validator;
  /** The catalog before this one; routes that did not change are taken over, and with them what others know of them. */
  readonly previous?: Catalog | undefined;
};

type Offer = Candidate & { readonly definition: Tool };

const byCodeUnits = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Why a tool is offered to nobody, its name aside; null when it is usable. */
function unusable({ name, inputSchema }: Tool, refused: string | null): string | null {
  if (name === "") return "it has no name";
  if (refused) return refused;
  const { invalid } = headerNames(inputSchema);
  return invalid === null ? null : `its x-mcp-header is not valid: ${invalid}`;
}

function offersOf({ servers, listings, validator }: CatalogInit, hidden: Hidden[]): Offer[] {
  const prefixes = new Map<string, Prefix>(servers.map(({ id, prefix }) => [id, prefix]));
  const offers: Offer[] = [];
  for (const { server, tools } of listings) {
    const prefix = server === ownServer ? "always" : prefixes.get(server);
    if (!prefix) continue;
    for (const definition of tools) {
      const reason = unusable(definition, validator.refuses(definition));
      if (reason === null) offers.push({ server, prefix, tool: definition.name, definition });
      else hidden.push({ kind: "tool", canonical: canonicalName(server, definition.name), reason });
    }
  }
  return offers;
}

function routeOf({ server, definition }: Offer, canonical: string, wire: string, previous?: Catalog): Route {
  const known = previous?.find(canonical);
  if (known?.wire === wire && known.tool?.text === definition.text) return known;
  return { kind: "tool", server, name: definition.name, tool: definition, canonical, wire };
}

function routesOf({ names: { max }, previous }: CatalogInit, offers: readonly Offer[], hidden: Hidden[]): Route[] {
  const names = assignNames(offers, max);
  const routes: Route[] = [];
  for (const offer of offers) {
    const canonical = canonicalName(offer.server, offer.tool);
    const named = names.get(offer);
    if (named?.reason === null) routes.push(routeOf(offer, canonical, named.wire, previous));
    else hidden.push({ kind: "tool", canonical, reason: named?.reason ?? "it has no name" });
  }
  return routes.toSorted((a, b) => byCodeUnits(a.wire, b.wire));
}

/** Builds the catalog of what all servers offer now; it never changes, a change of the servers makes a new one. */
export function createCatalog(init: CatalogInit): Catalog {
  const hidden: Hidden[] = [];
  const routes = routesOf(init, offersOf(init, hidden), hidden);
  const byWire = new Map(routes.map((route) => [route.wire, route]));
  const byCanonical = new Map(routes.map((route) => [route.canonical, route]));
  const texts = { legacy: new Map<Route, string>(), modern: new Map<Route, string>() };
  const cache = createListCache();
  const textOf = (route: Route, era: Era): string => {
    const known = texts[era].get(route);
    if (known !== undefined) return known;
    const text = definitionText(route, era);
    texts[era].set(route, text);
    return text;
  };
  return {
    hasScope: () => false,
    offers: (kind, name) => kind === "tool" && typeof name === "string" && byWire.has(name),
    resolve(call, _who, _kind, name) {
      if (typeof name !== "string") throw new Failure("invalid-params", "params.name must be the name of a tool.");
      const route = byWire.get(name);
      call.target = route?.canonical ?? cut(name, 200);
      if (route) return route;
      call.verdict = { rule: null, reason: "there is no such tool" };
      throw unknownTool(name);
    },
    find: (canonical) => byCanonical.get(canonical) ?? null,
    list({ source, inbound: { era, params } }, who) {
      if (params.cursor !== undefined) throw new Failure("invalid-params", "Unknown cursor.");
      return cache.get(who, source, era, () => {
        const visible = routes.filter((route) => init.policy.lists(who, route, source));
        return `{"tools":[${visible.map((route) => textOf(route, era)).join(",")}]}`;
      });
    },
    shown(who, source, _scope, list) {
      if (list !== "tools") return "";
      const visible = routes.filter((route) => init.policy.lists(who, route, source));
      return String(Bun.hash(visible.map((route) => textOf(route, "modern")).join("\n")));
    },
    servers: () => new Set(init.listings.map(({ server }) => server)),
    instructions: () => null,
    routes: () => routes,
    hidden: () => hidden,
  };
}
