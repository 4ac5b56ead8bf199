import { type BoundedMap, createBoundedMap } from "../core/bounded-map.ts";
import type { Clock } from "../core/clock.ts";

/** Remembers which server gave a URI to a principal in a result, to request it there if no list has it. */
export type HandedOut = {
  remember(who: string, server: string, uri: string): void;
  /** Returns the server that gave out the URI recently, even if it has been removed since; null if there is none. */
  server(who: string, uri: string): string | null;
  /** Sets the current servers. URIs of removed servers stay known, so that they are not sent to another server. */
  serve(servers: ReadonlySet<string>): void;
};

// Limits: URIs per server and principal, time since their last use, URI length, principals, removed servers per
// principal.
const cap = 500;
const ageUs = 86_400_000_000;
const longest = 2048;
const maxPrincipals = 1_000;
const maxRemovedServers = 10;

function move<V>(map: Map<string, V>, key: string): void {
  const value = map.get(key);
  if (value === undefined) return;
  map.delete(key);
  map.set(key, value);
}

/** Returns the digest that is stored instead of a URI, since servers may send long URIs to many callers. */
const digestOf = (uri: string): string => Bun.SHA256.hash(uri, "base64");

/**
 * Creates an empty memory. For each principal, a URI belongs to the first server that gave it out; if another server
 * gives out the same URI, it is rewritten to name that server. A URI of a removed server passes to the next server that
 * gives it out. No server can evict another server's URIs, and no principal affects another.
 */
export function createHandedOut(clock: Clock): HandedOut {
  const given = createBoundedMap<Map<string, BoundedMap<true>>>({ cap: maxPrincipals, age: ageUs, clock });
  let serves = (_server: string): boolean => true;
  const giver = (who: string, digest: string): string | null => {
    const givers = [...(given.get(who) ?? [])].flatMap(([server, uris]) => (uris.get(digest) ? [server] : []));
    return givers.find(serves) ?? givers[0] ?? null;
  };
  return {
    remember(who, server, uri) {
      const digest = digestOf(uri);
      const owner = giver(who, digest) ?? server;
      if (uri.length > longest || (owner !== server && serves(owner))) return;
      const servers = given.get(who) ?? new Map<string, BoundedMap<true>>();
      given.set(who, servers);
      if (owner !== server) servers.get(owner)?.delete(digest);
      const make = (): BoundedMap<true> => createBoundedMap({ cap, age: ageUs, clock });
      servers.getOrInsertComputed(server, make).set(digest, true);
    },
    serve(servers) {
      const before = serves;
      serves = (server) => servers.has(server);
      for (const byServer of given.values()) {
        const removed = [...byServer.keys()].filter((server) => !serves(server));
        // Sorted by when they were removed, oldest first.
        removed.sort((a, b) => Number(before(a)) - Number(before(b)));
        for (const server of removed) move(byServer, server);
        for (const server of removed.slice(0, -maxRemovedServers)) byServer.delete(server);
      }
    },
    server: (who, uri) => (given.get(who) ? giver(who, digestOf(uri)) : null),
  };
}
