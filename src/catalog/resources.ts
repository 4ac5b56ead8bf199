import type { Route } from "../core/call.ts";
import { canonicalName } from "../core/name.ts";
import { readTemplate, type UriTemplate } from "../core/uri-template.ts";
import type { Rewrite } from "./definition.ts";
import type { HandedOut } from "./handed-out.ts";
import type { Thing } from "./things.ts";
import type { Unlisted } from "./unlisted.ts";
import { splitExplicit, unwrapUri, wrapUri } from "./uris.ts";

/** Finds the servers that a URI may be read from. */
export type Resources = {
  /**
   * The routes of a URI, best first; each inner array holds equally good ones. The order: a listed URI; a URI that
   * names its server; templates, those with the longest literal beginning first; a URI that a server handed out to the
   * principal `who` (null: to nobody).
   */
  routes(uri: string, who: string | null): readonly (readonly Route[])[];
  /** The route to a server's own URI (`name`) for a URI on the wire. A listed resource has only its own route. */
  route(server: string, name: string, wire: string): Route;
  /** The route of a template, by its text on the wire; used by completion. */
  template(text: string): Route | null;
  /** How many characters are read, at most, to hold the URI against the templates that it may be made from. */
  steps(uri: string): number;
  /** Rewrites a server's URIs to those on the wire; null if none of them changes. */
  rewrites(server: string): Rewrite | null;
};

export type ResourcesInit = {
  readonly servers: ReadonlySet<string>;
  readonly resources: readonly Thing[];
  readonly templates: readonly Thing[];
  readonly handedOut: HandedOut;
  readonly unlisted: Unlisted;
};

type Pattern = UriTemplate & { readonly server: string; readonly renamed: boolean };

/** Indexes what the servers list now. */
export function createResources({ servers, resources, templates, handedOut, unlisted }: ResourcesInit): Resources {
  const listed = new Map(resources.map(({ route }) => [route.wire, [route]] as const));
  const conflicts = Map.groupBy(
    resources.map(({ route }) => route).filter(({ name, wire }) => name !== wire),
    ({ name }) => name,
  );
  const own = new Map(resources.map(({ route }) => [route.canonical, route]));
  const groupsOf = byPrefix(patternsOf(templates));
  const routeTo = (server: string, name: string, wire: string): Route =>
    own.get(canonicalName(server, name)) ?? unlisted("resource", server, name, wire);
  return {
    routes(uri, who) {
      const explicit = splitExplicit(uri);
      const giver = who === null ? null : handedOut.server(who, uri);
      return [
        listed.get(uri) ?? [],
        conflicts.get(uri) ?? [],
        explicit && servers.has(explicit.server) ? [routeTo(explicit.server, explicit.uri, uri)] : [],
        ...ranks(groupsOf(uri), uri).map((rank) => {
          const names = new Map(rank.map(({ server, renamed }) => [server, renamed ? unwrapUri(server, uri) : uri]));
          return [...names].map(([server, name]) => routeTo(server, name ?? uri, uri));
        }),
        giver !== null && servers.has(giver) ? [routeTo(giver, uri, uri)] : [],
      ];
    },
    route: routeTo,
    template: (text) => templates.find(({ route }) => route.wire === text)?.route ?? null,
    steps: (uri) => groupsOf(uri).reduce((sum, group) => sum + group.length * uri.length, 0),
    rewrites: rewriter(resources, templates),
  };
}

/** The templates; a renamed one also appears under its original text. */
function patternsOf(templates: readonly Thing[]): readonly Pattern[] {
  return templates.flatMap(({ route: { server, name, wire } }) => [
    { ...readTemplate(wire), server, renamed: name !== wire },
    ...(name === wire ? [] : [{ ...readTemplate(name), server, renamed: false }]),
  ]);
}

/** Finds the templates with whose literal beginning a URI begins, in groups, that with the longest beginning first. */
function byPrefix<T extends UriTemplate>(templates: readonly T[]): (uri: string) => readonly (readonly T[])[] {
  const groups = Map.groupBy(templates, ({ prefix }) => prefix);
  const lengths = [...new Set(groups.keys().map((prefix) => prefix.length))].toSorted((a, b) => b - a);
  return (uri) =>
    lengths.flatMap((length) => {
      const group = length > uri.length ? undefined : groups.get(uri.slice(0, length));
      return group ? [group] : [];
    });
}

/** The templates that match, in groups that are equally good. */
function ranks(groups: readonly (readonly Pattern[])[], uri: string): readonly (readonly Pattern[])[] {
  return groups.flatMap((group) => {
    const fitting = group.filter((pattern) => pattern.matches(uri));
    const exact = new Set(fitting.filter((pattern) => pattern.matchesExactly(uri)));
    return [[...exact], fitting.filter((pattern) => !exact.has(pattern))];
  });
}

function rewriter(resources: readonly Thing[], templates: readonly Thing[]): Resources["rewrites"] {
  const isRenamed = ({ route }: Thing): boolean => route.name !== route.wire;
  const renamed = templates.filter(isRenamed);
  const exact = new Map(resources.filter(isRenamed).map(({ route }) => [route.canonical, route.wire]));
  if (renamed.length + exact.size === 0) return () => null;
  const whole = new Set(resources.map(({ route }) => route.canonical));
  const made = new Map<string, Rewrite>();
  const rewriteOf = (server: string): Rewrite => {
    const own = renamed.flatMap(({ route }) => (route.server === server ? [readTemplate(route.name)] : []));
    const groupsOf = byPrefix(own);
    return (uri) => {
      const canonical = canonicalName(server, uri);
      if (whole.has(canonical)) return exact.get(canonical) ?? null;
      return groupsOf(uri).some((group) => group.some((pattern) => pattern.matches(uri))) ? wrapUri(server, uri) : null;
    };
  };
  for (const { route } of [...resources.filter(isRenamed), ...renamed])
    if (!made.has(route.server)) made.set(route.server, rewriteOf(route.server));
  return (server) => made.get(server) ?? null;
}
