import { createBoundedMap } from "../core/bounded-map.ts";
import type { Kind, Route } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { canonicalName, plainRoute } from "../core/name.ts";
import { copied } from "../core/text.ts";

/** Returns the route of an item that is in no list. */
export type Unlisted = (kind: Kind, server: string, name: string, wire: string) => Route;

// Limited, since callers choose the names, and data kept by route is about fifty times as long as the name.
const maxRoutes = 5_000;
const maxKeyLength = 512;
const ageUs = 86_400_000_000;

/** Creates an empty store of such routes. Data kept by route lasts as long as the store remembers the route. */
export function createUnlisted(clock: Clock): Unlisted {
  const made = createBoundedMap<Route>({ cap: maxRoutes, age: ageUs, clock });
  // Only the last long key is remembered: a change of its resource may be decided for many clients in a row.
  let last: { readonly key: string; readonly route: Route } | null = null;
  return (kind, server, name, wire) => {
    const key = `${kind} ${canonicalName(server, name)}\n${wire}`;
    const known = last?.key === key ? last.route : made.get(key);
    if (known) return known;
    // The URI may be a slice of a result, which it would keep in memory.
    const route = plainRoute(kind, server, copied(name), copied(wire));
    if (key.length <= maxKeyLength) made.set(key, route);
    else last = { key, route };
    return route;
  };
}
