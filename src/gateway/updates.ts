import type { IdentifiedCall, Route } from "../core/call.ts";
import { stringValue } from "../mcp/json-text.ts";
import { updateParams } from "../mcp/subscription.ts";
import type { Gateway } from "./gateway.ts";

/**
 * A resource that a caller subscribed to; `uri` is the URI that the caller used. A subscription outlives its request
 * and reloads, so it must hold neither the message nor the gateway.
 */
export type Subscribed = Pick<IdentifiedCall, "who" | "source" | "scope"> & {
  readonly route: Route;
  readonly uri: string;
};

/** Returns the params of an update about a resource or one below it; null if the subscriber may not read that one. */
export function updateFor(inForce: Gateway["inForce"], to: Subscribed, params: string | null): string | null {
  const { who, source, scope, route, uri } = to;
  const { policy, catalog } = inForce();
  const named = (params === null ? null : stringValue(params, 0, "uri")) ?? route.name;
  const changed = named === route.name ? route : catalog.below(route, named, who);
  if (!catalog.admits(changed, scope)) return null;
  if (!policy.judge(who, source, changed, { uri: changed.name }).allowed) return null;
  return updateParams(params, changed === route ? uri : changed.wire);
}
