import { orNull, thrownBy } from "../core/attempt.ts";
import { type IdentifiedCall, isShown, type Kind, type Party, type Route, type Viewpoint } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { Failure, serverDown } from "../core/failure.ts";
import { clientKind, noCapabilities } from "../core/inbound.ts";
import { type ListGroup, type ListName, listNames, lists, mapLists } from "../core/lists.ts";
import {
  checkLength,
  explicitScheme,
  maxNameLength,
  misnamedTool,
  nameBehind,
  notFound,
  ownServer,
} from "../core/name.ts";
import type { Catalog, Missing, Policy, Sealer } from "../core/ports.ts";
import type { Principal, Source } from "../core/principal.ts";
import { mayUse } from "../core/rights.ts";
import { cut, plain } from "../core/text.ts";
import { emptyListing, type Listing } from "../core/upstream.ts";
import { omittedKey } from "../mcp/meta.ts";
import { type CallerEntries, type CallerEntriesOptions, createCallerEntries, noEntries } from "./caller-entries.ts";
import { appOf, byWire, type Entry, gather } from "./entries.ts";
import type { HandedOut } from "./handed-out.ts";
import { instructionsOf } from "./instructions.ts";
import type { NamedServer } from "./names.ts";
import { omittedText, whyEmpty } from "./omitted.ts";
import type { NamesOptions, ToolsetOptions } from "./options.ts";
import { outgoingText, type Receiver, routeBelow } from "./outgoing.ts";
import { cursorAt, startOf } from "./pages.ts";
import { createResources, type Resources } from "./resources.ts";
import { type Scope, serverScope, toolsetScope, wholeScope } from "./scopes.ts";
import { printOf, textOf } from "./texts.ts";
import { createUnlisted, type Unlisted } from "./unlisted.ts";
import { explicitUri, isApp } from "./uris.ts";
import { type View, Views } from "./views.ts";

export type CatalogOptions = Pick<CallerEntriesOptions, "callerTools"> & {
  readonly servers: readonly (NamedServer & { readonly enabled: boolean })[];
  readonly toolsets: readonly ToolsetOptions[];
  readonly listings: readonly Listing[];
  readonly names: NamesOptions;
  /** Number of entries per page of a list. */
  readonly page: number;
  readonly policy: Policy;
  readonly sealer: Sealer;
  readonly clock: Clock;
  /** Called with each server whose lists make the gateway itself fail, and the error. */
  readonly failed: (server: string, error: unknown) => void;
  /** Outlives the catalogs that use it. */
  readonly handedOut: HandedOut;
  /** The previous catalog. Unchanged routes are reused, so that data kept by route stays valid. */
  readonly previous: Catalog | null;
};

/**
 * Builds an immutable catalog of everything that all servers offer now. A server whose lists make the gateway itself
 * fail offers nothing.
 */
export function createCatalog(options: CatalogOptions): Catalog {
  const of = (listings: readonly Listing[]): Catalog => new CompiledCatalog({ ...options, listings });
  const reason = "the gateway failed to process its lists; see the gateway's log";
  const missing = listNames.map((list) => ({ list, name: null, reason }));
  const usable = (listing: Listing): Listing => {
    const fault = thrownBy(() => of([listing]));
    if (fault === null) return listing;
    options.failed(listing.server, fault);
    return { ...emptyListing, server: listing.server, missing };
  };
  return orNull(() => of(options.listings)) ?? of(options.listings.map(usable));
}

class CompiledCatalog implements Catalog {
  readonly #options: Omit<CatalogOptions, "previous">;
  readonly #whole: Scope;
  readonly #toolsets: ReadonlyMap<string, Scope>;
  readonly #servers = new Map<string, Scope>();
  readonly #byCanonical: Readonly<Record<ListName, ReadonlyMap<string, Entry>>>;
  readonly #unlisted: Unlisted;
  readonly #resources: Resources;
  readonly #callerEntries: CallerEntries;
  readonly #views = new Views();

  constructor({ previous, ...options }: CatalogOptions) {
    const configured = new Set([ownServer, ...options.servers.map(({ id }) => id)]);
    const listings = options.listings.filter(({ server }) => configured.has(server));
    this.#options = { ...options, listings };
    // The previous catalog is not kept: otherwise each catalog would keep all earlier ones in memory.
    const before = previous instanceof CompiledCatalog ? previous : null;
    const known = (list: ListName, name: string): Entry | null =>
      before && (before.#byCanonical[list].get(name) ?? null);
    const { entries, apps, missing, templates } = gather({ ...options, listings, known });
    this.#byCanonical = mapLists((list) => new Map(entries[list].map((entry) => [entry.canonical, entry] as const)));
    this.#callerEntries = createCallerEntries(options);
    const whole = wholeScope({ servers: new Set(listings.map(({ server }) => server)), entries, missing });
    this.#whole = whole;
    this.#toolsets = new Map(
      options.toolsets.map((each) => [
        each.id,
        toolsetScope(whole, each, (before && before.#toolsets.get(each.id)) ?? null),
      ]),
    );
    this.#unlisted = createUnlisted(options.clock);
    const offered = { servers: whole.servers, entries, apps, templates };
    this.#resources = createResources({ ...offered, handedOut: options.handedOut, unlisted: this.#unlisted });
  }

  hasScope(id: string): boolean {
    return this.#scope(id) !== null;
  }

  hasScopeFor(id: string, who: Principal, source: Source): boolean {
    return this.#scope(id)?.rights.some((route) => this.#options.policy.lists(who, route, source)) ?? false;
  }

  offers(kind: Kind, name: unknown, scope: string | null, party: Party): boolean {
    const endpoint = this.#scope(scope);
    if (typeof name !== "string" || name.length > maxNameLength || !endpoint) return false;
    if (kind === "tool") return this.#toolNamed(endpoint, name, party) !== null;
    if (kind === "prompt") return endpoint.named("prompts", name) !== null;
    return kind === "resource" && this.#inScope(endpoint, name, party).length > 0;
  }

  servers(scope: string | null): ReadonlySet<string> {
    return this.#scope(scope)?.servers ?? new Set();
  }

  resolve(call: IdentifiedCall, kind: Kind, name: unknown): Route {
    if (typeof name !== "string") throw new Failure("invalid-params", `params.${wanted[kind]}.`);
    call.target = cut(name, maxNameLength);
    checkLength(kind, name);
    const route = this.#choose(call, kind, name);
    if (route) {
      call.target = route.canonical;
      return route;
    }
    const down = this.#unavailable(call, kind, name);
    if (down) throw down;
    const meant = kind === "tool" ? this.#listedAs(call, name) : undefined;
    const reason = meant ? `its name for MCP clients is ${meant.wire}` : `there is no such ${kind}`;
    call.verdict = { rule: null, reason };
    throw meant ? misnamedTool(name, meant.wire) : notFound(kind, name);
  }

  admits(route: Route, scope: string | null): boolean {
    return this.#scope(scope)?.admits(route) ?? false;
  }

  find(canonical: string, list: ListName = "tools"): Route | null {
    return this.#byCanonical[list].get(canonical) ?? null;
  }

  routeTo(kind: "extension" | "resource", server: string, name: string): Route {
    if (kind === "resource") return this.#resources.route(server, name, name);
    return this.#unlisted(kind, server, name, name);
  }

  locate(uri: string, callers: readonly Principal[]): readonly Route[] {
    const all = [null, ...callers.map(({ id }) => id)].flatMap((who) => this.#resources.routes(uri, who));
    return [...new Map(all.map((route) => [route.canonical, route] as const)).values()];
  }

  list(call: IdentifiedCall, list: ListName): string {
    const { who, source, inbound } = call;
    const { page, policy, sealer, listings } = this.#options;
    const scope = this.#scope(call.scope);
    const view = this.#view(call, list);
    const { entries } = view;
    const paged = { who: who.id, list, scope: scope?.id ?? "", entries };
    const start = startOf(sealer, paged, inbound.params.cursor);
    const end = start + page;
    const items = view.text(`${inbound.era} ${start}`, () =>
      entries
        .slice(start, end)
        .map((entry) => textOf(entry, inbound.era, this.#resources.rewrites(entry.server)))
        .join(","),
    );
    const next = end < entries.length ? `,"nextCursor":${JSON.stringify(cursorAt(sealer, paged, end))}` : "";
    const asked = { policy, who, source, list };
    const omitted = start === 0 && scope ? view.text("omitted", () => omittedText(scope, listings, asked)) : "";
    return `{"${list}":[${items}]${next}${omitted && `,"_meta":{"${omittedKey}":${omitted}}`}}`;
  }

  tools(from: Viewpoint): readonly Route[] {
    return this.#view(from, "tools").entries;
  }

  shown(from: Viewpoint, group: ListGroup): string {
    return listNames
      .filter((list) => lists[list].capability === group)
      .map((list) => this.#print(this.#view(from, list)))
      .join(" ");
  }

  instructions(scope: string | null, who: Principal, source: Source): string | null {
    const { listings, policy } = this.#options;
    const endpoint = this.#scope(scope);
    if (!endpoint) return null;
    const seen = listings.filter(({ server }) => mayUse(policy, who, source, server));
    return instructionsOf(endpoint, seen);
  }

  outgoing(route: Route, result: string, who: Principal): string {
    return outgoingText(route, result, this.#receiver(who));
  }

  below(route: Route, uri: string, who: Principal): Route {
    return routeBelow(route, uri, this.#receiver(who));
  }

  routes(list: ListName, scope: string | null): readonly Route[] {
    return this.#scope(scope)?.entries[list] ?? [];
  }

  missing(scope: string | null): readonly Missing[] {
    return this.#scope(scope)?.missing ?? [];
  }

  allMissing(): readonly Missing[] {
    return [...new Set([this.#whole, ...this.#toolsets.values()].flatMap(({ missing }) => missing))];
  }

  #receiver({ id }: Principal): Receiver {
    return { who: id, resources: this.#resources, handedOut: this.#options.handedOut };
  }

  #scope(id: string | null): Scope | null {
    if (id === null) return this.#whole;
    const known = this.#toolsets.get(id) ?? this.#servers.get(id);
    if (known) return known;
    if (!this.#options.servers.some((server) => server.id === id && server.enabled)) return null;
    const made = serverScope(this.#whole, id);
    this.#servers.set(id, made);
    return made;
  }

  #print(view: View): string {
    const printOfEach = (entry: Entry): string => printOf(entry, this.#resources.rewrites(entry.server));
    return view.text("print", () => Bun.hash(view.entries.map(printOfEach).join(" ")).toString(36));
  }

  #view(from: Viewpoint, list: ListName): View {
    const { policy } = this.#options;
    const { who, source } = from;
    const scope = this.#scope(from.scope);
    const callers = scope && list === "tools" ? this.#callerEntries(scope, from) : noEntries;
    const input = list === "tools" ? clientKind(from.capabilities) : "";
    const id = `${list} ${scope?.id ?? "?"} ${input} ${policy.sourceKey(source)}`;
    return this.#views.get(who, id, callers, () =>
      [...(scope?.entries[list] ?? []), ...callers]
        .filter((entry) => isShown(entry, from) && policy.lists(who, entry, source))
        .toSorted(byWire),
    );
  }

  #inScope(scope: Scope, uri: string, party: Party): readonly Route[] {
    const routes = this.#resources.routes(uri, party.who.id);
    const found = routes.length > 0 ? routes : this.#callerApps(scope, uri, party);
    return found.filter((route) => scope.admits(route));
  }

  /** Returns the routes of an app that only the caller's own tools name; anything else with its URI comes first. */
  #callerApps(scope: Scope, uri: string, party: Party): readonly Route[] {
    if (!isApp(uri)) return [];
    const naming = this.#callerEntries(scope, party).filter(({ tool }) => tool && appOf(tool) === uri);
    return [...new Set(naming.map(({ server }) => server))].map((server) => this.#resources.route(server, uri, uri));
  }

  /**
   * Returns the only route that the caller may know of, else one that policy refuses as if it were missing, else null.
   */
  #choose(call: IdentifiedCall, kind: Kind, name: string): Route | null {
    const { who } = call;
    const scope = this.#scope(call.scope);
    if (!scope || kind === "extension") return null;
    if (kind === "tool") return this.#toolNamed(scope, name, call);
    if (kind === "prompt") return scope.named("prompts", name);
    const template = call.inbound.method === "completion/complete" ? this.#resources.template(name) : null;
    if (template) return scope.admitsAll(template) ? template : null;
    const routes = this.#inScope(scope, name, call);
    const seen = routes.filter((route) => this.#options.policy.lists(who, route, call.source));
    if (seen.length > 1) {
      call.verdict = { rule: null, reason: "several servers offer it" };
      throw ambiguous(name, seen);
    }
    const route = seen[0] ?? routes[0];
    return route ?? (call.inbound.method === "completion/complete" ? null : this.#unnamed(scope, name, who));
  }

  /**
   * Returns the refusal of a name that begins with a server whose list is not known now, if policy would show the
   * caller an item of that name; null for any other name, which is then refused like that of a hidden item.
   */
  #unavailable({ who, source, scope }: IdentifiedCall, kind: Kind, wire: string): Failure | null {
    const endpoint = this.#scope(scope);
    if (!endpoint || (kind !== "tool" && kind !== "prompt")) return null;
    for (const listing of this.#options.listings) {
      const { server } = listing;
      const name = endpoint.servers.has(server) ? nameBehind(server, wire) : null;
      const reason = name === null ? null : whyEmpty(listing, kind === "tool" ? "tools" : "prompts");
      if (name === null || name.length > maxUnlisted || reason === null) continue;
      const route = this.#unlisted(kind, server, name, wire);
      if (endpoint.admits(route) && this.#options.policy.lists(who, route, source)) return serverDown(server, reason);
    }
    return null;
  }

  #toolNamed(scope: Scope, wire: string, party: Party): Route | null {
    const common = scope.named("tools", wire);
    if (common && isShown(common, party)) return common;
    const own = this.#callerEntries(scope, party).find((entry) => entry.wire === wire);
    if (own) return own;
    // The capabilities of a client without a session, such as an operator's, are unknown. It may try what others are
    // shown.
    return party.session === null && party.capabilities === noCapabilities ? common : null;
  }

  /** Returns the tool with a canonical name if it is in the caller's list; the caller must not learn of any other. */
  #listedAs(call: IdentifiedCall, canonical: string): Route | undefined {
    const { who, source } = call;
    const scope = this.#scope(call.scope);
    // The caller's view is not searched: it may contain thousands of tools, and a caller may send many wrong names.
    const own = scope && this.#callerEntries(scope, call).find((entry) => entry.canonical === canonical);
    const found = [scope?.tool(canonical), own].filter((entry) => entry !== undefined && entry !== null);
    return found.find((entry) => isShown(entry, call) && this.#options.policy.lists(who, entry, source));
  }

  /**
   * Returns the route of a URI that nothing has named, to the only server of the scope that has resources; null if the
   * URI may belong to another server.
   */
  #unnamed(scope: Scope, uri: string, who: Principal): Route | null {
    const { listings, handedOut } = this.#options;
    if (uri === "" || uri.startsWith(explicitScheme) || handedOut.server(who.id, uri) !== null) return null;
    if (this.#resources.routes(uri, who.id).length > 0) return null;
    const [only, ...more] = listings.filter((each) => scope.servers.has(each.server) && mayHaveResources(each));
    if (!only || more.length > 0 || only.capabilities === null) return null;
    const route = this.#resources.route(only.server, uri, uri);
    return scope.admits(route) ? route : null;
  }
}

/**
 * Maximum length of the name of a tool or prompt that no list has, as in MCP. Callers choose such names, and policy
 * compares each with every rule.
 */
const maxUnlisted = 128;

/** Reports whether a server may have resources. A server that has not declared its capabilities may. */
const mayHaveResources = ({ server, capabilities }: Listing): boolean =>
  server !== ownServer && (capabilities === null || "resources" in capabilities);

const wanted: Readonly<Record<Kind, string>> = {
  tool: "name must be the name of a tool",
  prompt: "name must be the name of a prompt",
  resource: "uri must be the URI of a resource",
  extension: "method must be the name of a method",
};

/** Returns the failure that asks the caller to choose. The first server must not win, since the order is arbitrary. */
function ambiguous(uri: string, routes: readonly Route[]): Failure {
  const servers = routes.map(({ server }) => server);
  const uris = routes.map(({ server, name }) => explicitUri(server, name));
  const message = `${cut(plain(uri), 500)} is offered by ${servers.join(" and ")}; ask for ${uris.join(" or ")}.`;
  return new Failure("invalid-params", cut(message, 2000), { data: { servers, uris } });
}
