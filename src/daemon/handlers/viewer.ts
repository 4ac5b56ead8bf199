import { localPrincipal } from "../../authn/anonymous.ts";
import type { Keyring } from "../../authn/keyring.ts";
import type { Context } from "../../control/api.ts";
import { Refusal } from "../../control/refusal.ts";
import { asFailure } from "../../core/failure.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import { identify, type Caller } from "../../gateway/inner.ts";
import type { Viewer } from "../../serve/gateway-tools.ts";

const source = { transport: "control", ip: null, loopback: true, forwarded: false } as const;

/** The caller behind a control connection: the key it gave, else the local administrator (SEMANTICS §4). */
export function callerOf({ peer, key, signal }: Context, keyring: Keyring): Caller {
  if (key !== null)
    return { source, credentials: [{ scheme: "bearer", raw: key }], vouched: null, controller: endedBy(signal) };
  if (peer.access !== "admin") {
    throw new Refusal("denied", `uid ${peer.uid} is no administrator; set MCPGW_API_KEY to act as the holder of a key`);
  }
  return { source, credentials: [], vouched: localPrincipal(peer.uid, keyring), controller: endedBy(signal) };
}

/** A controller that a signal ends. */
function endedBy(signal: AbortSignal): AbortController {
  const controller = new AbortController();
  if (signal.aborted) controller.abort();
  signal.addEventListener("abort", () => controller.abort(), { once: true });
  return controller;
}

/** How a control connection sees tools; operators see everybody's records. */
export function viewerOf(ctx: Context, gw: Gateway, keyring: Keyring): Viewer {
  try {
    return { who: identify(gw, callerOf(ctx, keyring)), consumer: null, call: null, controller: endedBy(ctx.signal) };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal("denied", asFailure(error).message);
  }
}
