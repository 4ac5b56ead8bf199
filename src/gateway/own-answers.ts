import type { Call, IdentifiedCall, Reply } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { type Era, logLevels } from "../core/inbound.ts";
import { type ListName, lists } from "../core/lists.ts";
import { discoverResult, initializeResult, type Introduction, negotiate } from "../mcp/handshake.ts";
import { capabilitiesText, offersUnknown } from "./capabilities.ts";
import { type Gateway, learnTools, whenSettled } from "./gateway.ts";

// Replies to requests that have no effect on a server, so they are counted but not recorded.

/** Answers `initialize`. The client's session is open before the reply. */
export async function initialize(gw: Gateway, call: IdentifiedCall): Promise<Reply> {
  const revision = negotiate(call.inbound.params.protocolVersion);
  const text = initializeResult(revision, await introduction(gw, call));
  if (call.open) call.opened = await call.open(call, revision);
  return result(text);
}

/** Answers `server/discover`, the handshake of the modern era. */
export async function discover(gw: Gateway, call: IdentifiedCall): Promise<Reply> {
  return result(discoverResult(await introduction(gw, call)), "modern");
}

/** Waits for servers that start at boot if they are not known yet, because many clients do the handshake only once. */
async function introduction(gw: Gateway, call: IdentifiedCall): Promise<Introduction> {
  if (offersUnknown(gw, call)) gw = await whenSettled(gw, call);
  requireNotCancelled(call);
  const instructions = gw.catalog.instructions(call.scope, call.who, call.source);
  return { server: gw.identity, capabilities: capabilitiesText(gw, call), instructions };
}

/** Throws `cancelled` if the request was cancelled while it waited for servers: the reply would be incomplete. */
export function requireNotCancelled({ controller }: Call): void {
  if (controller.signal.aborted) throw new Failure("cancelled", "The request was cancelled before it was answered.");
}

/** Answers `ping` with an empty result. */
export const ping = (): Reply => result("{}");

/** Answers `logging/setLevel`; the level is kept in the session. */
export function setLevel(_gw: Gateway, { inbound, session }: Call): Reply {
  const level = logLevels.find((each) => each === inbound.params.level);
  if (!level) throw new Failure("invalid-params", `"params.level" must be one of ${logLevels.join(", ")}.`);
  if (!session) {
    throw new Failure("invalid-request", "A log level needs a session; send initialize and use its session.");
  }
  session.logLevel = level;
  return result("{}");
}

/** Answers a list request with what the caller may see. Waits first for the servers that start at boot. */
export function list(name: ListName) {
  return async (before: Gateway, call: IdentifiedCall): Promise<Reply> => {
    let gw = await whenSettled(before, call);
    if (name === "tools") gw = await learnTools(gw, call);
    requireNotCancelled(call);
    const text = gw.catalog.list(call, name);
    gw.notifier.served(call, lists[name].capability);
    return result(text, call.inbound.era);
  };
}

/** Returns a result from the gateway itself; `text` is raw JSON. */
export function result(text: string, era: Era = "legacy"): Reply {
  return { kind: "result", era, text, isError: false, type: null };
}
