import type { Kind } from "../core/call.ts";
import { anyOf } from "../core/name.ts";
import { type ListName, lists } from "../core/lists.ts";
import type { Policy } from "../core/ports.ts";
import type { Listing } from "../core/upstream.ts";
import type { Principal, Source } from "../core/principal.ts";
import { cut } from "../core/text.ts";
import { wellFormed } from "../mcp/json-text.ts";
import type { Missing } from "./things.ts";
import type { Scope } from "./scopes.ts";

/** The `_meta` key under which a list says what is missing from it. */
export const omittedKey = "mcpgw.dev/omitted";

const most = { entries: 20, characters: 2048, reason: 300 };

/** Why a server's list is empty although the server may have things; null if the list is known to be complete. */
function whyEmpty(listing: Listing, list: ListName): string | null {
  const { reason, stale, capabilities } = listing;
  if (listing[list].length > 0 || (reason === null && !stale)) return null;
  // The last handshake tells whether the server has such a list at all.
  if (Object.keys(capabilities).length > 0 && !(lists[list].capability in capabilities)) return null;
  return reason ?? "it was not listed yet";
}

/** Whether a caller may use anything of this kind from a server. */
export const reaches = (policy: Policy, who: Principal, source: Source, kind: Kind, server: string): boolean =>
  policy.lists(who, anyOf(kind, server), source);

type Asked = { readonly policy: Policy; readonly who: Principal; readonly source: Source; readonly list: ListName };

/**
 * What is missing from a list and why, as the JSON text of an array; empty text if nothing is. Names only things that
 * policy would show this caller, and servers on which the caller has any right. Limited in size: it is a hint where to
 * look.
 */
export function omittedText(scope: Scope, listings: readonly Listing[], asked: Asked): string {
  const { policy, who, source, list } = asked;
  const down = listings.flatMap((listing) => {
    const reason = scope.servers.has(listing.server) ? whyEmpty(listing, list) : null;
    const seen = reason !== null && reaches(policy, who, source, lists[list].kind, listing.server);
    return seen ? [{ server: listing.server, reason }] : [];
  });
  const entries: string[] = [];
  let characters = 0;
  for (const { reason, ...rest } of [...down, ...things(scope, asked)]) {
    const entry = wellFormed(JSON.stringify({ ...rest, reason: cut(reason, most.reason) }));
    characters += entry.length + 1;
    if (entries.length === most.entries || characters > most.characters) break;
    entries.push(entry);
  }
  return entries.length > 0 ? `[${entries.join(",")}]` : "";
}

type Reason = { readonly server: string; readonly name: string; readonly reason: string };

function* things(scope: Scope, { policy, who, source, list }: Asked): Iterable<Reason> {
  const isTheirs = (missing: Missing): boolean => missing.list === list && policy.lists(who, missing.route, source);
  for (const missing of scope.missing) {
    const { server, name } = missing.route;
    if (isTheirs(missing)) yield { server, name: cut(name, 200), reason: missing.told };
  }
}
