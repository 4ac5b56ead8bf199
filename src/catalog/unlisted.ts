import { createBoundedMap } from "../core/bounded-map.ts";
import type { Kind, Route } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { canonicalName, plainRoute } from "../core/name.ts";
import { copied } from "../core/text.ts";

/** Makes the route of a thing that is in no list. */
export type Unlisted = (kind: Kind, server: string, name: string, wire: string) => Route;

// Limited, since callers choose the names, and what others keep by route is some fifty times as long as the name. A
// forgotten route is made again.
const mostRoutes = 5_000;
const longestKey = 512;
const ageUs = 86_400_000_000;

/** Creates an empty store of such routes. What is kept by route lasts as long as the store remembers the route. */
export function createUnlisted(clock: Clock): Unlisted {
  const made = createBoundedMap<Route>({ cap: mostRoutes, age: ageUs, clock });
  // Of the long ones only the last: one change of a resource may be for many clients, each of whom it is decided for.
  let last: { readonly key: string; readonly route: Route } | null = null;
  return (kind, server, name, wire) => {
    const key = `${kind} ${canonicalName(server, name)}\n${wire}`;
    const known = last?.key === key ? last.route : made.get(key);
    if (known) return known;
    // A URI may have been cut out of a result.
    const route = plainRoute(kind, server, copied(name), copied(wire));
    if (key.length <= longestKey) made.set(key, route);
    else last = { key, route };
    return route;
  };
}
