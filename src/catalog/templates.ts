import { byPrefix } from "../core/by-prefix.ts";
import type { Route } from "../core/call.ts";
import { readTemplate, type UriTemplate } from "../core/uri-template.ts";
import { unwrapApp } from "./uris.ts";

/** Finds the templates that may have produced a URI. */
export type Templates = {
  /** Returns the servers that have such a template, each with its own form of the URI. */
  servers(uri: string): ReadonlyMap<string, string>;
  /** Returns the maximum number of characters that `servers` reads. */
  steps(uri: string): number;
  /**
   * Returns a lookup of the servers with such a template that is bounded for many URIs: beyond the bound, every
   * template that begins like the URI counts as a match.
   */
  claims(): (uri: string) => Iterable<string>;
};

/**
 * A template as its server wrote it, unchanged on the wire (`own`) or not (`shared`); or as on the wire (`renamed`).
 */
type Form = UriTemplate & { readonly server: string; readonly as: "own" | "shared" | "renamed" };

type Groups = readonly (readonly Form[])[];

// Maximum number of characters of listed URIs that are compared with templates per catalog.
const stepBudget = 20_000_000;

/** Indexes the templates of all servers. */
export function indexTemplates(routes: readonly Route[]): Templates {
  const groupsOf = byPrefix(routes.flatMap(formsOf));
  return {
    servers: (uri) => serversOf(groupsOf(uri), uri),
    steps: (uri) => stepsOf(groupsOf(uri), uri),
    claims() {
      let left = stepBudget;
      return (uri) => {
        const groups = groupsOf(uri);
        left -= stepsOf(groups, uri);
        return left < 0 ? groups.flat().map(({ server }) => server) : serversOf(groups, uri).keys();
      };
    },
  };
}

function formsOf({ server, name, wire }: Route): Form[] {
  if (name === wire) return [{ ...readTemplate(name), server, as: "own" }];
  return [
    { ...readTemplate(name), server, as: "shared" },
    { ...readTemplate(wire), server, as: "renamed" },
  ];
}

function stepsOf(groups: Groups, uri: string): number {
  let forms = 0;
  for (const group of groups) forms += group.length;
  return forms * uri.length;
}

function serversOf(groups: Groups, uri: string): ReadonlyMap<string, string> {
  const fitting = groups.flatMap((group) => group.filter((form) => form.matches(uri)));
  // A URI that names its server does not lead to other servers with the same template.
  const kept = fitting.some(({ as }) => as === "renamed") ? fitting.filter(({ as }) => as !== "shared") : fitting;
  return new Map(kept.map(({ server, as }) => [server, (as === "renamed" && unwrapApp(server, uri)) || uri]));
}
