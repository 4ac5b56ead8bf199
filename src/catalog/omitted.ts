import { type ListName, lists } from "../core/lists.ts";
import type { Policy } from "../core/ports.ts";
import type { Principal, Source } from "../core/principal.ts";
import { anyOf } from "../core/rights.ts";
import { cut } from "../core/text.ts";
import type { Listing } from "../core/upstream.ts";
import { wellFormed } from "../mcp/json-text.ts";
import type { Scope } from "./scopes.ts";

const most = { entries: 20, characters: 2000, reason: 300 };

/** Returns why a server's list is empty although the server may have items; null if the list is complete. */
export function whyEmpty(listing: Listing, list: ListName): string | null {
  const { reason, stale, capabilities } = listing;
  if (listing[list].length > 0 || !stale) return null;
  // The last handshake shows whether the server has such a list at all.
  if (capabilities !== null && !(lists[list].capability in capabilities)) return null;
  return reason ?? "it has not been listed yet";
}

type Asked = { readonly policy: Policy; readonly who: Principal; readonly source: Source; readonly list: ListName };

/**
 * Returns what is missing from a list and why, as the JSON text of an array, or an empty text. Names only items that
 * policy would show this caller, and servers on which the caller has any right. The size is limited, since this is a
 * hint about where to look. Servers come first, since any number of items may be missing from them; the last entry
 * counts what is not named.
 */
export function omittedText(scope: Scope, listings: readonly Listing[], asked: Asked): string {
  if (!asked.policy.names(asked.who.roles)) return '[{"reason":"no policy names a role of this caller"}]';
  const texts: string[] = [];
  let characters = 0;
  let more = 0;
  for (const { reason, ...rest } of [...servers(scope, listings, asked), ...entries(scope, asked)]) {
    const entry = wellFormed(JSON.stringify({ ...rest, reason: cut(reason, most.reason) }));
    characters += entry.length + 1;
    if (texts.length === most.entries || characters > most.characters) more++;
    else texts.push(entry);
  }
  if (more > 0) texts.push(JSON.stringify({ reason: `and ${more} more` }));
  return texts.length > 0 ? `[${texts.join(",")}]` : "";
}

type Reason = { readonly server: string; readonly name?: string; readonly reason: string };

/** Yields the servers whose items are unknown or not completely known. */
function* servers(scope: Scope, listings: readonly Listing[], asked: Asked): Iterable<Reason> {
  const { policy, who, source, list } = asked;
  const isTheirs = (server: string): boolean => policy.lists(who, anyOf(lists[list].kind, server), source);
  for (const listing of listings) {
    const { server } = listing;
    const reason = scope.servers.has(server) ? whyEmpty(listing, list) : null;
    if (reason !== null && isTheirs(server)) yield { server, reason };
  }
  for (const missing of scope.missing) {
    const { server, told } = missing;
    if (missing.cut && missing.list === list && isTheirs(server)) yield { server, reason: told };
  }
}

function* entries(scope: Scope, { policy, who, source, list }: Asked): Iterable<Reason> {
  for (const missing of scope.missing) {
    if (missing.cut || missing.list !== list || !policy.lists(who, missing, source)) continue;
    yield { server: missing.server, name: cut(missing.name, 200), reason: missing.told };
  }
}
