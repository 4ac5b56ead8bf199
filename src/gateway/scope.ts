import type { Listing } from "../core/upstream.ts";
import type { Gateway } from "./gateway.ts";

/** The listings of all servers of a scope; null means all servers. */
export function inScope({ upstreams, catalog }: Gateway, scope: string | null): readonly Listing[] {
  const listings = upstreams.listings();
  if (scope === null) return listings;
  const servers = catalog.servers(scope);
  return listings.filter(({ server }) => servers.has(server));
}
