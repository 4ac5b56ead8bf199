import type { Route } from "../core/call.ts";
import { readTemplate, type UriTemplate } from "../core/uri-template.ts";
import { type Templates, unwrapUri } from "./uris.ts";

/** A template as its server wrote it (`own`), which another server may have too (`shared`), or as it is then `renamed`. */
type Form = UriTemplate & { readonly server: string; readonly as: "own" | "shared" | "renamed" };

/** Indexes templates by their literal beginnings. */
export function indexTemplates(routes: readonly Route[]): Templates {
  const forms = routes.flatMap(({ server, name, wire }): Form[] =>
    name === wire
      ? [{ ...readTemplate(name), server, as: "own" }]
      : [
          { ...readTemplate(name), server, as: "shared" },
          { ...readTemplate(wire), server, as: "renamed" },
        ],
  );
  const byPrefix = Map.groupBy(forms, ({ prefix }) => prefix);
  const lengths = [...new Set(forms.map(({ prefix }) => prefix.length))];
  return (uri) => {
    const fitting = lengths
      .filter((length) => length <= uri.length)
      .flatMap((length) => (byPrefix.get(uri.slice(0, length)) ?? []).filter((form) => form.matches(uri)));
    // A URI that names its server means none of the others that have the same template.
    const kept = fitting.some(({ as }) => as === "renamed") ? fitting.filter(({ as }) => as !== "shared") : fitting;
    return new Map(kept.map(({ server, as }) => [server, (as === "renamed" && unwrapUri(server, uri)) || uri]));
  };
}
