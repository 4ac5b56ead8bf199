import { localPrincipal } from "../../authn/anonymous.ts";
import type { Keyring } from "../../authn/keyring.ts";
import type { Context } from "../../control/contract.ts";
import { Refusal } from "../../control/refusal.ts";
import { Cancel, type AbortControllerLike } from "../../core/cancel.ts";
import { asFailure } from "../../core/failure.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import { identify, type Caller } from "../../gateway/inner.ts";
import type { Viewer } from "../../serve/gateway-tools.ts";

const local = { transport: "control", ip: null, loopback: true, forwarded: false } as const;

/** The caller behind a control connection, by the key it gave, else the local administrator; its end ends `controller`. */
export function callerOf(
  { peer, key, signal }: Context,
  keyring: Keyring,
  controller: AbortControllerLike = new Cancel(),
): Caller {
  endBy(signal, controller);
  const source = { ...local, peer: { uid: peer.uid, pid: peer.pid } };
  if (key !== null) return { source, credentials: [{ scheme: "bearer", raw: key }], vouched: null, controller };
  if (peer.access !== "admin") {
    throw new Refusal("denied", `uid ${peer.uid} is no administrator; set MCPGW_API_KEY to act as the holder of a key`);
  }
  return { source, credentials: [], vouched: localPrincipal(peer.uid, keyring), controller };
}

function endBy(signal: AbortSignal, controller: AbortControllerLike): void {
  if (signal.aborted) controller.abort();
  signal.addEventListener("abort", () => controller.abort(), { once: true });
}

/** How a control connection sees tools; operators see everybody's records. */
export function viewerOf(ctx: Context, gw: Gateway, keyring: Keyring): Viewer {
  try {
    const caller = callerOf(ctx, keyring);
    return { who: identify(gw, caller), consumer: null, call: null, controller: caller.controller };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal("denied", asFailure(error).message);
  }
}
