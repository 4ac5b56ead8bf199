import { byPrefix } from "../core/by-prefix.ts";
import type { Route } from "../core/call.ts";
import { readTemplate, type UriTemplate } from "../core/uri-template.ts";
import { unwrapApp } from "./uris.ts";

/** Finds the templates that a URI may have been made from. */
export type Templates = {
  /** The servers that have one, each with its own URI. */
  servers(uri: string): ReadonlyMap<string, string>;
  /** How many characters are read, at most, by `servers`. */
  steps(uri: string): number;
  /**
   * The servers that have one, for many URIs in a bounded number of steps: after these, any template that begins as the
   * URI does counts as one.
   */
  claims(): (uri: string) => Iterable<string>;
};

/**
 * A template as its server wrote it (`own`), which another server may have too (`shared`), or as it is then `renamed`.
 */
type Form = UriTemplate & { readonly server: string; readonly as: "own" | "shared" | "renamed" };

type Groups = readonly (readonly Form[])[];

// Most characters of listed URIs that are held against templates in one catalog.
const mostSteps = 20_000_000;

/** Indexes the templates of all servers. */
export function indexTemplates(routes: readonly Route[]): Templates {
  const groupsOf = byPrefix(routes.flatMap(formsOf));
  return {
    servers: (uri) => serversOf(groupsOf(uri), uri),
    steps: (uri) => stepsOf(groupsOf(uri), uri),
    claims() {
      let left = mostSteps;
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
  // A URI that names its server means none of the others that have the same template.
  const kept = fitting.some(({ as }) => as === "renamed") ? fitting.filter(({ as }) => as !== "shared") : fitting;
  return new Map(kept.map(({ server, as }) => [server, (as === "renamed" && unwrapApp(server, uri)) || uri]));
}
