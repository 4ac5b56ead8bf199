import type { IdentifiedCall } from "../../core/call.ts";
import { Failure } from "../../core/failure.ts";
import type { Gateway } from "../gateway.ts";
import type { ParkedCall } from "./parking.ts";
import { parkedIdOf } from "./retry.ts";

/**
 * Ends the waiting call that a refused request should have continued, because its caller could not continue it and its
 * server would wait in vain. Resolves with the refusal, which then says so, or with any other error unchanged.
 */
export async function endRefused(gw: Gateway, call: IdentifiedCall, error: unknown): Promise<unknown> {
  const id = parkedIdOf(gw, call);
  if (id === null || !(error instanceof Failure)) return error;
  const parked = gw.parking.find(id, call.who.id);
  if (!parked || !isRefused(gw, call, parked)) return error;
  await gw.parking.expire(id, ended(call));
  const { code, said, detail } = error;
  return new Failure(code, `${said.replace(/\.?$/, ".")} The call was ended while it waited for these answers.`, {
    ...detail,
    ran: "maybe",
  });
}

/**
 * Reports whether a refused request was about the target of the waiting call. A request that was not even resolved may
 * name something else by mistake; then the call can still be continued, also under a new name that a reload gave its
 * tool. A request with the same name as the previous one comes from a caller that knows no other name.
 */
function isRefused({ catalog }: Gateway, call: IdentifiedCall, parked: ParkedCall): boolean {
  const { route, inbound } = call;
  const { kind, canonical, wire } = parked.route;
  if (route) return route.canonical === canonical;
  if (catalog.offers(kind, wire, parked.scope, call)) return false;
  if (kind === "resource" || inbound.params.name === wire) return true;
  return !catalog
    .routes(kind === "tool" ? "tools" : "prompts", parked.scope)
    .some((each) => each.canonical === canonical);
}

function ended({ route }: IdentifiedCall): Failure {
  const why = route ? "may no longer make it" : "came back with a name that no longer exists";
  return new Failure("lost", `The call was ended while it waited for answers: its caller ${why}.`, { ran: "maybe" });
}
