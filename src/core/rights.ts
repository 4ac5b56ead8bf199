import { createBoundedMap } from "./bounded-map.ts";
import { type Kind, kinds, type Route } from "./call.ts";
import { canonicalName } from "./name.ts";
import type { Policy } from "./ports.ts";
import type { Principal, Source } from "./principal.ts";

/** Enough for all kinds of a thousand servers. */
const wholes = createBoundedMap<Route>({ cap: 4096 });

/**
 * Returns the route that represents everything of a kind on a server, to ask whether a caller has any right on it. It
 * is always the same object, because rules are evaluated once per route.
 */
export function anyOf(kind: Kind, server: string): Route {
  const canonical = canonicalName(server, "*");
  const key = `${kind} ${canonical}`;
  const known = wholes.get(key);
  if (known) return known;
  const route: Route = { kind, server, name: "{any}", tool: null, canonical, wire: "", template: true };
  wholes.set(key, route);
  return route;
}

/** Reports whether a caller has any right on a server. */
export const mayUse = (policy: Pick<Policy, "lists">, who: Principal, source: Source, server: string): boolean =>
  kinds.some((kind) => policy.lists(who, anyOf(kind, server), source));
