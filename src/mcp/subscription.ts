import { forNextHop, type Implementation, implementationText, serverInfoKey, subscriptionIdKey } from "./meta.ts";
import { notificationText } from "./outbound.ts";

/** Returns a notification for the stream of a `subscriptions/listen`; `id` is that request's id as written. */
export function subscribed(method: string, params: string | null, id: string): string {
  return notificationText(method, forNextHop(params ?? "{}", null, [`"${subscriptionIdKey}":${id}`]));
}

/** Returns the params that notify a client of a changed resource: the server's, but with the URI the client knows. */
export function updateParams(params: string | null, uri: string): string {
  return forNextHop(params ?? "{}", null, [], { uri: JSON.stringify(uri) });
}

/** Returns the `_meta` of the result that ends a `subscriptions/listen`. */
export function subscriptionMeta(id: string, server: Implementation): string {
  return `{"${subscriptionIdKey}":${id},"${serverInfoKey}":${implementationText(server)}}`;
}
