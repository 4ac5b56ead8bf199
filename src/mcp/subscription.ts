import { forNextHop, type Implementation, implementationText, serverInfoKey, subscriptionIdKey } from "./meta.ts";
import { notificationText } from "./outbound.ts";

/** A notification on the stream of a `subscriptions/listen`; `id` is the id of that request, as it was written. */
export function subscribed(method: string, params: string | null, id: string): string {
  return notificationText(method, forNextHop(params ?? "{}", null, [`"${subscriptionIdKey}":${id}`]));
}

/**
 * The params that tell a client of a changed resource: those of its server, null for none, with the URI that the client
 * knows.
 */
export function updateParams(params: string | null, uri: string): string {
  return forNextHop(params ?? "{}", null, [], { uri: JSON.stringify(uri) });
}

/** The `_meta` of the result that ends a `subscriptions/listen`. */
export function subscriptionMeta(id: string, server: Implementation): string {
  return `{"${subscriptionIdKey}":${id},"${serverInfoKey}":${implementationText(server)}}`;
}
