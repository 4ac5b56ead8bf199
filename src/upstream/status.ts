import type { ServerStatus } from "../core/upstream.ts";
import type { Discovery } from "./discovery/discovery.ts";
import { unknownText } from "./discovery/inventory.ts";
import { downText } from "./instances/failures.ts";
import type { Following } from "./following.ts";
import type { Pool } from "./instances/pool.ts";
import type { ServerOptions } from "./options.ts";
import type { Subscriptions } from "./subscriptions.ts";
import { transportOf } from "./transports/index.ts";

type Parts = {
  readonly options: ServerOptions;
  readonly discovery: Discovery;
  readonly pool: Pool;
  readonly subscriptions: Subscriptions;
  readonly following: Following;
  readonly dropped: number;
  /** Epoch ms. */
  readonly now: number;
};

/** One server as operators see it: the gateway's own instance and those of the callers together. */
export function statusOf({ options, discovery, pool, subscriptions, following, dropped, now }: Parts): ServerStatus {
  const { id, name } = options;
  const { state, reason, inventory, instance, restarts, streams } = discovery;
  const { down } = pool;
  const ownPid = instance?.link.pid ?? null;
  const hubs = [...pool].reduce((sum, { instance: one }) => sum + (one?.link.streams ?? 0), 0);
  return {
    id,
    name: name ?? id,
    transport: transportOf(options),
    state,
    era: inventory.era,
    revision: instance?.peer.revision ?? null,
    instances: pool.size,
    pids: [...(ownPid === null ? [] : [ownPid]), ...pool.pids],
    ownPid,
    tools: inventory.tools.length,
    restarts: restarts + pool.crashes,
    inFlight: pool.inFlight,
    reason: reason ?? downText(down, now) ?? unknownText(inventory),
    down,
    listedAt: inventory.listedAt === null ? null : Math.floor(inventory.listedAt / 1000),
    sandbox: "none",
    dropped,
    streams: streams + hubs + subscriptions.streams + following.streams,
    subscriptions: subscriptions.size,
  };
}
