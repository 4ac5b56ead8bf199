import type { Call, Route } from "../core/call.ts";
import type { Principal } from "../core/principal.ts";
import { updateParams } from "../mcp/subscription.ts";
import type { Gateway } from "./gateway.ts";
import { textAt } from "./tasks.ts";

/** A resource that a caller subscribed to; `uri` is the URI that the caller used. */
type Subscribed = { readonly call: Call; readonly who: Principal; readonly route: Route; readonly uri: string };

/**
 * Notification params for a subscriber, for the resource itself or one below it; null if the caller may not read what
 * changed.
 */
export function updateFor(gw: Gateway, { call, who, route, uri }: Subscribed, params: string | null): string | null {
  const named = (params === null ? null : textAt(params, "uri")) ?? route.name;
  const changed = named === route.name ? route : gw.catalog.below(route, named, who);
  if (changed !== route && !gw.catalog.admits(changed, call.scope)) return null;
  if (!gw.listeners.allows(who, changed, call.source)) return null;
  return updateParams(params, changed === route ? uri : changed.wire);
}
