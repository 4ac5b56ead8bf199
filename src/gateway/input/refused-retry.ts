import type { IdentifiedCall } from "../../core/call.ts";
import { Failure } from "../../core/failure.ts";
import type { Gateway } from "../gateway.ts";
import type { ParkedCall } from "./parking.ts";
import { parkedIdOf } from "./retry.ts";

/**
 * Ends the waiting call that a refused request of its caller was to continue: nobody could come back to it, and its
 * server would wait in vain. Resolves with the refusal, which then says so, or with any other error as it is.
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
 * Whether a refused request was refused what the waiting call is about. One that was not even resolved may name
 * something else by mistake: then the call can still be continued, also under another name that a reload gave its tool.
 * One that names it as the last one did was made by a caller who knows of no other name.
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
  const why = route ? "may not make this call any more" : "came back under a name that leads to nothing now";
  return new Failure("lost", `Its caller ${why}, so it was ended while it waited for answers.`, { ran: "maybe" });
}
