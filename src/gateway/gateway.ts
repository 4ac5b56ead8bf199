import type { Call, Viewpoint } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { Failure } from "../core/failure.ts";
import type { Logger } from "../core/log.ts";
import type { Notifier, Audit, Authn, Catalog, Limits, Policy, Sealer, Upstreams, Validator } from "../core/ports.ts";
import { anyOf } from "../core/rights.ts";
import type { Listing } from "../core/upstream.ts";
import { within } from "../core/wait.ts";
import type { Implementation } from "../mcp/meta.ts";
import type { ScanLimits } from "../mcp/scan.ts";
import type { Parking } from "./input/parking.ts";
import type { Listeners } from "./listeners.ts";
import type { CallMetrics } from "./metrics.ts";

/** Everything that a call needs, compiled from one configuration; a reload replaces the whole gateway. */
export type Gateway = {
  /** The name and version that callers see. */
  readonly identity: Implementation;
  readonly authn: Authn;
  readonly limits: Limits;
  readonly policy: Policy;
  /**
   * Returns the current gateway. A call or subscription from before a reload still holds the old gateway, so checks
   * during a call and before a notification use the policy and the catalog of the current one.
   */
  readonly inForce: () => Gateway;
  /** Replaced as a whole when the tools of a server change. */
  catalog: Catalog;
  readonly validator: Validator;
  readonly upstreams: Upstreams;
  /** Resolves when every server that starts at boot or was never listed was listed or failed, or after a timeout. */
  settled: Promise<void>;
  readonly audit: Audit;
  readonly metrics: Pick<CallMetrics, "count">;
  readonly notifier: Notifier;
  readonly sealer: Sealer;
  readonly parking: Parking;
  readonly listeners: Listeners;
  readonly clock: Clock;
  readonly nextId: () => string;
  readonly log: Logger;
  /** Limits on a caller's message (bytes, nesting, number of values, messages in a batch) and on a result (bytes). */
  readonly caps: ScanLimits & { readonly body: number; readonly batch: number; readonly result: number };
};

/**
 * Waits for servers that are not known yet, unless the call is cancelled, and resolves with the gateway that is current
 * then: after a reload in the meantime, only the new catalog learns what the servers offer. Throws `session-not-found`
 * if a reload removed the endpoint.
 */
export async function whenSettled(gw: Gateway, call: Pick<Call, "scope" | "controller">): Promise<Gateway> {
  const { signal } = call.controller;
  let before: Gateway;
  do {
    before = gw;
    await within(before.settled, null, signal, () => {});
    gw = before.inForce();
  } while (gw !== before && !signal.aborted);
  requireEndpoint(gw, call);
  return gw;
}

/** Throws `session-not-found` if a reload removed the call's endpoint. */
export function requireEndpoint({ catalog }: Gateway, { scope }: Pick<Call, "scope">): void {
  if (scope === null || catalog.hasScope(scope)) return;
  throw new Failure("session-not-found", `The endpoint for "${scope}" no longer exists; MCP is at /mcp.`);
}

/** How long a call waits for the tools that servers show only to certain clients or to one caller's instance, ms. */
const learnMs = 10_000;

/** Waits for tools shown only to clients or callers like this one; resolves with the gateway that is current then. */
export async function learnTools(gw: Gateway, call: Viewpoint & Pick<Call, "controller">): Promise<Gateway> {
  const { catalog, policy, upstreams } = gw;
  const servers = catalog.servers(call.scope);
  const isTheirs = (id: string): boolean => servers.has(id) && policy.lists(call.who, anyOf("tool", id), call.source);
  const learning = upstreams.learnTools(call, isTheirs);
  if (!learning) return gw;
  // If the answer comes too late, the client is notified of a changed list.
  await within(learning, learnMs, call.controller.signal, () => {});
  return whenSettled(gw, call);
}

/** Returns the listings of all servers in a scope; a null scope includes all servers. */
export function inScope({ upstreams, catalog }: Gateway, scope: string | null): readonly Listing[] {
  const listings = upstreams.listings();
  if (scope === null) return listings;
  const servers = catalog.servers(scope);
  return listings.filter(({ server }) => servers.has(server));
}
