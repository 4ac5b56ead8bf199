import type { IdentifiedCall } from "../core/call.ts";
import { asFailure, type Failure } from "../core/failure.ts";
import { isExtensionNotice, resolveNotice } from "./extensions.ts";
import type { Gateway } from "./gateway.ts";
import type { Resolved } from "./resolved.ts";

/** Notifications of MCP itself that are passed on to the servers of their session. */
const passedOn: ReadonlySet<string> = new Set(["notifications/roots/list_changed"]);

/**
 * Passes a legacy client's notification on to its servers. One of an extension is decided, limited and recorded for each
 * of them; throws why the last of them may not have it, if none may.
 */
export async function passOn(gw: Gateway, call: IdentifiedCall): Promise<void> {
  const { method } = call.inbound;
  if (passedOn.has(method)) return gw.upstreams.tell(call, method);
  if (!isExtensionNotice(call)) return;
  let refusal: Failure | null = null;
  const passing: Promise<void>[] = [];
  for (const resolve of resolveNotice(gw, call)) {
    try {
      const resolved = resolve();
      if (!gw.upstreams.hears(call, resolved.route.server)) continue;
      call.route = resolved.route;
      resolved.decide();
      gw.limits.take(call.who, resolved.route);
      passing.push(pass(gw, call, resolved));
    } catch (error) {
      refusal = asFailure(error);
    }
  }
  await Promise.all(passing);
  if (passing.length === 0 && refusal) throw refusal;
}

/** There is no answer that could say that a server is down, so that is only logged. */
async function pass(gw: Gateway, call: IdentifiedCall, { route, request }: Resolved): Promise<void> {
  await gw.audit.once(call, { passes: "notification" });
  try {
    await gw.upstreams.notify(call, route, request());
  } catch (error) {
    gw.log.warn("a notification was not passed on", { server: route.server, cause: asFailure(error).message });
  }
}
