import type { ServerState } from "../core/upstream.ts";
import { counter, type Family, gauge } from "../gateway/metrics.ts";
import type { Engine } from "./engine.ts";

/** Metrics of everything but the calls themselves. */
export function gaugesOf(engine: Engine): Family[] {
  return [
    ...waitingGauges(engine),
    uptimeGauge(),
    ...serverGauges(engine),
    ...trafficGauges(engine),
    ...auditGauges(engine),
    gauge("process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss()),
  ];
}

/** Not by the wall clock, which may be set back. */
export function uptimeGauge(): Family {
  const since = performance.now();
  return gauge("mcp_gateway_uptime_seconds", "Seconds since the start.", () =>
    Math.floor((performance.now() - since) / 1000),
  );
}

function waitingGauges({ waiting: { parking, listeners } }: Engine): Family[] {
  return [
    gauge("mcp_gateway_parked_calls", "Calls that wait for answers of their callers.", () => parking.size),
    counter(
      "mcp_gateway_parked_refused_total",
      "Questions that were refused: without a place to wait for their answers, too long, or too many at once.",
      () => parking.refused,
    ),
    gauge("mcp_gateway_listens", "Open subscriptions/listen streams.", () => listeners.size),
    gauge("mcp_gateway_subscribed_resources", "Resources that callers have subscribed to.", () => listeners.uris),
  ];
}

/** The states of a server that need nobody's care: an idle one is started by its next call. */
const usable: ReadonlySet<ServerState> = new Set(["ready", "idle", "disabled"]);

function serverGauges({ current }: Engine): Family[] {
  const servers = () => current().upstreams.status();
  type PerServer = "restarts" | "inFlight" | "tools" | "instances" | "streams" | "subscriptions" | "dropped";
  const perServer = (field: PerServer) => () =>
    servers().map((server) => ({ labels: { server: server.id }, value: server[field] ?? 0 }));
  return [
    gauge(
      "mcp_gateway_active_servers",
      "Servers that are ready.",
      () => servers().filter(({ state }) => state === "ready").length,
    ),
    gauge("mcpgw_server_ok", "0 while a server is to be used and cannot be.", () =>
      servers().map(({ id, state }) => ({ labels: { server: id }, value: usable.has(state) ? 1 : 0 })),
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
    counter(
      "mcpgw_server_messages_dropped_total",
      "Messages of a server that belonged to nothing.",
      perServer("dropped"),
    ),
  ];
}

function trafficGauges({ running, traffic }: Engine): Family[] {
  return [
    gauge("mcpgw_requests_in_flight", "Requests that are running.", () => running.size),
    gauge("mcpgw_sessions", "Open legacy sessions.", () => traffic.sessions),
    gauge("mcpgw_streams", "Open event streams and WebSockets.", () => traffic.streams),
    gauge("mcpgw_client_requests", "Requests to clients that wait for an answer.", () => traffic.asked),
    counter(
      "mcpgw_notifications_lost_total",
      "Notifications that a client was too slow or away too long for.",
      () => traffic.lost,
    ),
    counter("mcpgw_client_answers_stray_total", "Answers of clients to nothing they were asked.", () => traffic.stray),
    counter(
      "mcpgw_connections_refused_total",
      "Requests refused because all places were taken (listen.maxConnections).",
      () => traffic.refused,
    ),
  ];
}

function auditGauges({ stores }: Engine): Family[] {
  const health = () => stores.audit.health();
  return [
    gauge("mcpgw_audit_records", "Records committed to the chain.", () => health().records),
    gauge("mcpgw_audit_durable", "Records on stable storage.", () => health().durable),
    gauge("mcpgw_audit_ok", "1 while calls can be recorded.", () => (health().ok ? 1 : 0)),
    gauge(
      "mcpgw_audit_checkpoint_age_seconds",
      "Seconds since every file for checkpoints has taken one, since the start for one without any; none is due while nothing is recorded.",
      () => Math.floor(health().checkpointLag.us / 1_000_000),
    ),
    gauge(
      "mcpgw_audit_checkpoint_behind_records",
      "Records after the last checkpoint that every file for them has taken; all records for a file without any.",
      () => health().checkpointLag.records,
    ),
    gauge("mcpgw_audit_checkpoint_ok", "1 while checkpoints can be kept.", () =>
      health().checkpointFault === null ? 1 : 0,
    ),
    gauge("mcpgw_audit_unrecorded", "Calls that passed unrecorded (onFailure: allow).", () => health().unrecorded),
  ];
}
