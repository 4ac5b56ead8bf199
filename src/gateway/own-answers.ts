import type { Call, IdentifiedCall, Reply } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { type Era, logLevels } from "../core/inbound.ts";
import { type ListName, lists } from "../core/lists.ts";
import { discoverResult, initializeResult, type Introduction, negotiate } from "../mcp/handshake.ts";
import { capabilitiesText, offersUnknown } from "./capabilities.ts";
import { type Gateway, learnTools, whenSettled } from "./gateway.ts";

// Requests that the gateway answers itself. They have no effect on a server, so they are counted but not recorded.

/** The answer to `initialize`. The client's session is open before it is answered. */
export async function initialize(gw: Gateway, call: IdentifiedCall): Promise<Reply> {
  const revision = negotiate(call.inbound.params.protocolVersion);
  const text = initializeResult(revision, await introduction(gw, call));
  if (call.open) call.opened = await call.open(call, revision);
  return result(text);
}

/** The answer to `server/discover`, the handshake of the modern era. */
export async function discover(gw: Gateway, call: IdentifiedCall): Promise<Reply> {
  return result(discoverResult(await introduction(gw, call)), "modern");
}

/** Waits for the servers that start at boot where they are unknown yet: many clients are introduced only once. */
async function introduction(gw: Gateway, call: IdentifiedCall): Promise<Introduction> {
  if (offersUnknown(gw, call)) gw = await whenSettled(gw, call);
  needWanted(call);
  const instructions = gw.catalog.instructions(call.scope, call.who, call.source);
  return { server: gw.identity, capabilities: capabilitiesText(gw, call), instructions };
}

/**
 * Throws `cancelled` if the request was given up while the servers were waited for: the answer would lack what they
 * offer.
 */
export function needWanted({ controller }: Call): void {
  if (controller.signal.aborted) throw new Failure("cancelled", "The request was given up before it was answered.");
}

/** The answer to `ping`: an empty result. */
export const ping = (): Reply => result("{}");

/** Keeps the log level for the session. */
export function setLevel(_gw: Gateway, { inbound, session }: Call): Reply {
  const level = logLevels.find((each) => each === inbound.params.level);
  if (!level) throw new Failure("invalid-params", `"params.level" is none of ${logLevels.join(", ")}.`);
  if (!session) {
    throw new Failure(
      "invalid-request",
      "A level needs a session to be kept for; send initialize and use its session.",
    );
  }
  session.logLevel = level;
  return result("{}");
}

/** A list as the caller may see it. Waits first for the servers that start at boot. */
export function list(name: ListName) {
  return async (before: Gateway, call: IdentifiedCall): Promise<Reply> => {
    let gw = await whenSettled(before, call);
    if (name === "tools") gw = await learnTools(gw, call);
    needWanted(call);
    const text = gw.catalog.list(call, name);
    gw.notifier.served(call, lists[name].capability);
    return result(text, call.inbound.era);
  };
}

/** A result that the gateway made itself; `text` is raw JSON. */
export function result(text: string, era: Era = "legacy"): Reply {
  return { kind: "result", era, text, isError: false, type: null };
}
