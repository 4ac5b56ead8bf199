import type { ServerStatus } from "../../src/core/upstream.ts";

/** Returns the status of a server about which only its readiness is known. */
export const serverStatus = (id: string, more: Partial<ServerStatus> = {}): ServerStatus => ({
  id,
  name: id,
  transport: "stdio",
  state: "ready",
  era: null,
  revision: null,
  instances: 0,
  pids: [],
  ownPid: null,
  tools: 0,
  restarts: 0,
  inFlight: 0,
  reason: null,
  down: [],
  listedAt: null,
  sandbox: "none",
  dropped: 0,
  streams: 0,
  subscriptions: 0,
  ...more,
});
