import type { Listing } from "../core/upstream.ts";
import type { Gateway } from "./gateway.ts";

/** What the servers of a scope offer; null: all servers. */
export function inScope({ upstreams, catalog }: Gateway, scope: string | null): readonly Listing[] {
  const listings = upstreams.listings();
  if (scope === null) return listings;
  const servers = catalog.servers(scope);
  return listings.filter(({ server }) => servers.has(server));
}
