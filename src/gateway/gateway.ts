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

/**
 * Everything that a call needs, compiled once from one configuration. A reload builds another gateway and swaps the
 * reference.
 */
export type Gateway = {
  /** The name and version that callers are told. */
  readonly identity: Implementation;
  readonly authn: Authn;
  readonly limits: Limits;
  readonly policy: Policy;
  /**
   * The gateway in force now. A call or a subscription from before a reload still holds the old one, so what is checked
   * during a call or before a subscriber is told something uses the policy and the catalog of this.
   */
  readonly inForce: () => Gateway;
  /** Replaced as a whole when the tools of a server change. */
  catalog: Catalog;
  readonly validator: Validator;
  readonly upstreams: Upstreams;
  /**
   * Resolves when every server that starts at boot, or was never listed, was listed or failed, or after a fixed time.
   */
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
  /** Caps on a message from a caller: bytes, nesting, number of values, messages in a batch; and on a result: bytes. */
  readonly caps: ScanLimits & { readonly body: number; readonly batch: number; readonly result: number };
};

/**
 * Waits for the servers that are not known yet, unless the call is given up, and resolves with the gateway in force
 * then: a reload meanwhile has taken them over or replaced them, and only the new catalog learns what they offer.
 * Throws `session-not-found` where it took the endpoint away.
 */
export async function whenSettled(gw: Gateway, call: Pick<Call, "scope" | "controller">): Promise<Gateway> {
  const { signal } = call.controller;
  let before: Gateway;
  do {
    before = gw;
    await within(before.settled, null, signal, () => {});
    gw = before.inForce();
  } while (gw !== before && !signal.aborted);
  needEndpoint(gw, call);
  return gw;
}

/** Throws `session-not-found` where a reload took the call's endpoint away. */
export function needEndpoint({ catalog }: Gateway, { scope }: Pick<Call, "scope">): void {
  if (scope === null || catalog.hasScope(scope)) return;
  throw new Failure("session-not-found", `There is no endpoint for "${scope}" any more; MCP is at /mcp.`);
}

/**
 * Some servers show a tool only to certain clients, or to one caller's instance. How long is waited until it is known
 * which, ms.
 */
const learnMs = 10_000;

/**
 * Waits for the tools that are shown only to clients or callers like this one, and resolves with the gateway in force
 * then. At once where they are known.
 */
export async function learnTools(gw: Gateway, call: Viewpoint & Pick<Call, "controller">): Promise<Gateway> {
  const { catalog, policy, upstreams } = gw;
  const servers = catalog.servers(call.scope);
  const isTheirs = (id: string): boolean => servers.has(id) && policy.lists(call.who, anyOf("tool", id), call.source);
  const learning = upstreams.learnTools(call, isTheirs);
  if (!learning) return gw;
  // The client is told of a changed list if the answer comes too late for this one.
  await within(learning, learnMs, call.controller.signal, () => {});
  return whenSettled(gw, call);
}

/** The listings of all servers of a scope; null means all servers. */
export function inScope({ upstreams, catalog }: Gateway, scope: string | null): readonly Listing[] {
  const listings = upstreams.listings();
  if (scope === null) return listings;
  const servers = catalog.servers(scope);
  return listings.filter(({ server }) => servers.has(server));
}
