import { createBoundedMap } from "../core/bounded-map.ts";
import type { Clock } from "../core/clock.ts";

/** Which server gave a URI to a caller in a result, so that it can be read although no list has it. */
export type HandedOut = {
  note(server: string, uri: string): void;
  /** The server that gave it out lately, null when none did. */
  server(uri: string): string | null;
};

// URIs of at most 2,048 characters, for a day after they were last seen.
const cap = 10_000;
const age = 86_400_000_000;
const longest = 2048;

/**
 * Creates an empty memory; it outlives catalogs. It has one server for each URI: what another server hands out under
 * the same URI goes out under one that names that server.
 */
export function createHandedOut(clock: Clock): HandedOut {
  const givers = createBoundedMap<string>({ cap, age, clock });
  return {
    note(server, uri) {
      if (uri.length <= longest) givers.set(uri, server);
    },
    server: (uri) => givers.get(uri) ?? null,
  };
}
