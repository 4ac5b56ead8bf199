import { type BoundedMap, createBoundedMap } from "../core/bounded-map.ts";
import type { Clock } from "../core/clock.ts";

/** Which server gave a URI to a caller in a result, so that it can be read although no list has it. */
export type HandedOut = {
  note(server: string, uri: string): void;
  /** The server that gave it out lately, null when none did. */
  server(uri: string): string | null;
};

// URIs of a server, of at most 2,048 characters each, for a day after they were last seen.
const cap = 1_000;
const age = 86_400_000_000;
const longest = 2048;

/**
 * Creates an empty memory; it outlives catalogs. It has one server for each URI: what another server hands out under
 * the same URI goes out under one that names that server. No server can push out what another one gave.
 */
export function createHandedOut(clock: Clock): HandedOut {
  const given = new Map<string, BoundedMap<true>>();
  const giver = (uri: string): string | null => {
    for (const [server, uris] of given) if (uris.get(uri)) return server;
    return null;
  };
  return {
    note(server, uri) {
      if (uri.length > longest || (giver(uri) ?? server) !== server) return;
      const own = given.get(server) ?? createBoundedMap<true>({ cap, age, clock });
      given.set(server, own);
      own.set(uri, true);
    },
    server: giver,
  };
}
