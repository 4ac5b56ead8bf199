import { type BoundedMap, createBoundedMap } from "../core/bounded-map.ts";
import type { Clock } from "../core/clock.ts";

/** Which server gave a URI to a principal in a result, so that the same one can read it although no list has it. */
export type HandedOut = {
  remember(who: string, server: string, uri: string): void;
  /** The server that gave it out lately, null when none did. */
  server(who: string, uri: string): string | null;
};

// URIs that a server gave to a principal, of at most 2,048 characters each, for a day after they were last seen.
const cap = 500;
const ageUs = 86_400_000_000;
const longest = 2048;
const mostPrincipals = 1_000;

/** Kept in place of the URI: servers choose how long those are, and callers are many. */
const digestOf = (uri: string): string => new Bun.CryptoHasher("sha256").update(uri).digest("base64");

/**
 * Creates an empty memory; it outlives catalogs. It has one server for each URI of a principal: what another server
 * hands out under the same URI goes out under one that names that server. No server can push out what another one gave,
 * and what one principal was given changes nothing for another.
 */
export function createHandedOut(clock: Clock): HandedOut {
  const given = createBoundedMap<Map<string, BoundedMap<true>>>({ cap: mostPrincipals, age: ageUs, clock });
  const giver = (who: string, digest: string): string | null => {
    for (const [server, uris] of given.get(who) ?? []) if (uris.get(digest)) return server;
    return null;
  };
  return {
    remember(who, server, uri) {
      const digest = digestOf(uri);
      if (uri.length > longest || (giver(who, digest) ?? server) !== server) return;
      const servers = given.get(who) ?? new Map<string, BoundedMap<true>>();
      given.set(who, servers);
      const own = servers.get(server) ?? createBoundedMap<true>({ cap, age: ageUs, clock });
      servers.set(server, own);
      own.set(digest, true);
    },
    server: (who, uri) => (given.get(who) ? giver(who, digestOf(uri)) : null),
  };
}
