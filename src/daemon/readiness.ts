import { counter, type Gauge, gauge } from "../gateway/metrics.ts";
import type { Readiness } from "../serve/health.ts";
import type { Sessions } from "../session/sessions.ts";
import type { Engine } from "./engine.ts";

/** Where the daemon is between its start and its end. */
export type State = "starting" | "ready" | "draining";

/** Why the gateway is not ready; null when it accepts calls and can record them. */
export function notReady(engine: Engine, state: State): string | null {
  const { ok, reason } = engine.stores.audit.health();
  const awaited = awaitedBy(engine, state);
  if (state !== "ready") return `it is ${state}${awaited.length > 0 ? `, waits for ${awaited.join(", ")}` : ""}`;
  return ok ? null : `the audit log cannot record: ${reason}`;
}

/** The servers that have to start before the gateway is ready. */
export const awaitedBy = (engine: Engine, state: State): string[] =>
  state === "starting" ? engine.upstreams().awaited() : [];

/** How callers are told apart. */
export function authOf(engine: Engine): string {
  const { type, roles } = engine.loaded().config.auth;
  return type === "none" ? `none: every local caller is anonymous (${roles?.join(", ")})` : type;
}

/** What `/ready` answers. */
export function readinessOf(engine: Engine, state: State): Readiness {
  const { stores, current } = engine;
  const { ok, reason, durability, onFailure, durable, records } = stores.audit.health();
  const servers = current()
    .upstreams.status()
    .map(({ id, state, reason }) => ({ id, state, reason }));
  return {
    ready: notReady(engine, state) === null,
    detail: {
      state,
      waitsFor: awaitedBy(engine, state),
      auth: authOf(engine),
      frozen: stores.keyring.frozen,
      audit: { ok, reason, durability, onFailure, records, durable },
      servers,
      sandbox: "none",
    },
  };
}

/** Metrics of everything but the calls themselves. */
export function gaugesOf(engine: Engine, sessions: Sessions, startedAt: number): Gauge[] {
  const { traffic } = engine;
  const servers = () => engine.current().upstreams.status();
  type PerServer = "restarts" | "inFlight" | "tools" | "instances" | "streams" | "subscriptions" | "dropped";
  const perServer = (field: PerServer) => () =>
    servers().map((server) => ({ labels: { server: server.id }, value: server[field] ?? 0 }));
  const audit = () => engine.stores.audit.health();
  return [
    gauge("mcp_gateway_uptime_seconds", "Seconds since the start.", () => Math.floor((Date.now() - startedAt) / 1000)),
    gauge(
      "mcp_gateway_active_servers",
      "Servers that are ready.",
      () => servers().filter(({ state }) => state === "ready").length,
    ),
    gauge(
      "mcpgw_server_restarts",
      "Restarts of a server since the start, and unexpected ends of its callers' instances.",
      perServer("restarts"),
    ),
    gauge("mcpgw_server_in_flight", "Calls a server is working on.", perServer("inFlight")),
    gauge("mcpgw_server_tools", "Tools a server offers.", perServer("tools")),
    gauge("mcpgw_server_instances", "Instances of a server that callers use.", perServer("instances")),
    gauge("mcpgw_server_streams", "Streams held open to a server besides calls.", perServer("streams")),
    gauge("mcpgw_server_subscriptions", "Resources of a server that are subscribed to.", perServer("subscriptions")),
    counter("mcpgw_server_messages_dropped", "Messages of a server that belonged to nothing.", perServer("dropped")),
    gauge("mcpgw_requests_in_flight", "Requests that are running.", () => engine.running.size),
    gauge("mcpgw_sessions", "Open legacy sessions.", () => sessions.size),
    gauge("mcpgw_streams", "Open event streams and WebSockets.", () => traffic.streams),
    gauge("mcpgw_client_requests", "Requests to clients that wait for an answer.", () => traffic.asked),
    counter("mcpgw_notifications_lost", "Notifications that a client was too slow for.", () => traffic.lost),
    counter("mcpgw_client_answers_stray", "Answers of clients to nothing they were asked.", () => traffic.stray),
    counter(
      "mcpgw_connections_refused_total",
      "Requests refused because all places were taken (listen.maxConnections).",
      () => traffic.refused,
    ),
    gauge("mcpgw_audit_records", "Records committed to the chain.", () => audit().records),
    gauge("mcpgw_audit_durable", "Records on stable storage.", () => audit().durable),
    gauge("mcpgw_audit_ok", "1 while calls can be recorded.", () => (audit().ok ? 1 : 0)),
    gauge(
      "mcpgw_audit_checkpoint_age_seconds",
      "Seconds since every file for checkpoints has taken one, since the start for one without any; none is due while nothing is recorded.",
      () => Math.floor(audit().checkpointLag.us / 1_000_000),
    ),
    gauge(
      "mcpgw_audit_checkpoint_behind_records",
      "Records after the last checkpoint that every file for them has taken; all records for a file without any.",
      () => audit().checkpointLag.records,
    ),
    gauge("mcpgw_audit_checkpoint_ok", "1 while checkpoints can be kept.", () =>
      audit().checkpointFault === null ? 1 : 0,
    ),
    gauge("mcpgw_audit_unrecorded", "Calls that passed unrecorded (onFailure: allow).", () => audit().unrecorded),
    gauge("process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss()),
  ];
}
