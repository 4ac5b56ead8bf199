import { byPrefix } from "../core/by-prefix.ts";
import type { Route } from "../core/call.ts";
import { canonicalName } from "../core/name.ts";
import { readTemplate } from "../core/uri-template.ts";
import type { Rewrite } from "./app-uri.ts";
import type { Entries } from "./entries.ts";
import type { HandedOut } from "./handed-out.ts";
import type { Templates } from "./templates.ts";
import type { Unlisted } from "./unlisted.ts";
import { splitExplicit, wrapUri } from "./uris.ts";

/** Finds the servers that a URI may be read from. */
export type Resources = {
  /**
   * Returns the routes of a URI. A URI that the gateway rewrote leads to the server that it names. Any other leads to
   * each server that lists it, has a tool whose app it is, has a template for it, or handed it out to the principal
   * `who` (null for nobody). None has priority: otherwise a server could take over what callers read from another
   * server, by listing the same URI or a narrower template.
   */
  routes(uri: string, who: string | null): readonly Route[];
  /** Returns the route to a server's own URI (`name`). A listed resource has only its own route, whatever `wire` is. */
  route(server: string, name: string, wire: string): Route;
  /** Returns the route of a template by its text on the wire, for completion. */
  template(text: string): Route | null;
  /** Returns the maximum number of characters that are read to compare the URI with the templates that may match. */
  steps(uri: string): number;
  /** Returns the function that rewrites a server's URIs to those on the wire, or null if none of them changes. */
  rewrites(server: string): Rewrite | null;
};

type ResourcesOptions = {
  readonly servers: ReadonlySet<string>;
  readonly entries: Entries;
  readonly apps: readonly Route[];
  readonly templates: Templates;
  readonly handedOut: HandedOut;
  readonly unlisted: Unlisted;
};

/** Indexes what the servers currently list. */
export function createResources(options: ResourcesOptions): Resources {
  const { servers, templates, handedOut, unlisted } = options;
  const { resourceTemplates } = options.entries;
  const resources: readonly Route[] = [...options.entries.resources, ...options.apps];
  const renamed = new Map(resources.filter(({ name, wire }) => name !== wire).map((route) => [route.wire, route]));
  const listed = Map.groupBy(resources, ({ name }) => name);
  const own = new Map(resources.map((route) => [route.canonical, route]));
  const routeTo = (server: string, name: string, wire: string): Route =>
    own.get(canonicalName(server, name)) ?? unlisted("resource", server, name, wire);
  return {
    routes(uri, who) {
      const meant = renamed.get(uri);
      if (meant) return [meant];
      const explicit = splitExplicit(uri);
      if (explicit) return servers.has(explicit.server) ? [routeTo(explicit.server, explicit.uri, uri)] : [];
      const found = new Map(templates.servers(uri));
      const giver = who === null ? null : handedOut.server(who, uri);
      if (giver !== null && servers.has(giver) && !found.has(giver)) found.set(giver, uri);
      for (const { server } of listed.get(uri) ?? []) found.set(server, uri);
      return [...found].map(([server, name]) => routeTo(server, name, uri));
    },
    route: routeTo,
    template: (text) => resourceTemplates.find(({ wire }) => wire === text) ?? null,
    steps: (uri) => templates.steps(uri),
    rewrites: rewriter(resources, resourceTemplates),
  };
}

function rewriter(resources: readonly Route[], templates: readonly Route[]): Resources["rewrites"] {
  const isRenamed = ({ name, wire }: Route): boolean => name !== wire;
  const renamed = templates.filter(isRenamed);
  const exact = new Map(resources.filter(isRenamed).map(({ canonical, wire }) => [canonical, wire]));
  if (renamed.length + exact.size === 0) return () => null;
  const whole = new Set(resources.map(({ canonical }) => canonical));
  const made = new Map<string, Rewrite>();
  const rewriteOf = (server: string): Rewrite => {
    const own = renamed.flatMap((route) => (route.server === server ? [readTemplate(route.name)] : []));
    const groupsOf = byPrefix(own);
    return (uri) => {
      const canonical = canonicalName(server, uri);
      if (whole.has(canonical)) return exact.get(canonical) ?? null;
      return groupsOf(uri).some((group) => group.some((pattern) => pattern.matches(uri))) ? wrapUri(server, uri) : null;
    };
  };
  for (const server of new Set([...resources.filter(isRenamed), ...renamed].map((route) => route.server)))
    made.set(server, rewriteOf(server));
  return (server) => made.get(server) ?? null;
}
