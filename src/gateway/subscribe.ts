import type { Call, ClientSession, Reply, RoutedCall } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { Updated } from "../core/ports.ts";
import { result } from "./own-answers.ts";
import type { Gateway } from "./gateway.ts";
import { type Subscribed, updateFor } from "./updates.ts";

/** Subscribes a legacy session to a resource, until it unsubscribes or ends. */
export async function subscribe(gw: Gateway, call: RoutedCall): Promise<Reply> {
  const { session, who, source, scope, route } = call;
  if (!session) {
    throw new Failure("invalid-request", "A subscription needs a session; send initialize and use its session.");
  }
  const uri = uriOf(call);
  const subscribed = session.subscribedTo(uri);
  if (subscribed === route.canonical) return result("{}");
  // A reload has given the URI to another resource, which replaces the previous one.
  if (subscribed !== null) session.endSubscription(uri);
  const release = gw.listeners.take(who.id, 1, uri.length);
  let wanted = true;
  const settled = session.askSubscription(uri, () => (wanted = false));
  try {
    const end = await gw.upstreams.subscribe(call, route, teller(gw, session, { who, source, scope, route, uri }));
    // Recorded only now: if the server refuses the subscription, only the refusal is recorded.
    await gw.audit.once(call, { opens: "subscription" }).catch((error: unknown) => {
      end();
      throw error;
    });
    if (call.controller.signal.aborted) {
      end();
      throw new Failure("cancelled", "The session ended during the subscription.");
    }
    const stop = both(release, end);
    // Of two concurrent requests, the session keeps one.
    if (wanted) session.keepSubscription(uri, route.canonical, stop);
    else stop();
  } catch (error) {
    release();
    throw error;
  } finally {
    settled();
  }
  return result("{}");
}

// Created outside of `subscribe`, because a closure inside would keep all of its variables in memory.
const both = (one: () => void, other: () => void) => (): void => {
  one();
  other();
};

const teller =
  ({ inForce, notifier }: Gateway, session: ClientSession, to: Subscribed): Updated =>
  (params) => {
    const update = updateFor(inForce, to, params);
    if (update !== null) notifier.notify(session, "notifications/resources/updated", update);
  };

/** Ends a subscription of this session. The reply does not reveal whether there was one. */
export function unsubscribe(_gw: Gateway, call: Call): Reply {
  call.session?.endSubscription(uriOf(call));
  return result("{}");
}

function uriOf({ inbound: { params } }: Call): string {
  if (typeof params.uri === "string") return params.uri;
  throw new Failure("invalid-params", '"params.uri" is not a string; it names the resource.');
}
