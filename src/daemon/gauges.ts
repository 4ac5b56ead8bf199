import type { ServerState } from "../core/upstream.ts";
import { counter, type Family, gauge } from "../gateway/metrics.ts";
import type { Engine } from "./engine.ts";

/** Returns all metrics except those of calls. */
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

/** Returns the uptime metric. It uses a monotonic clock, since the wall clock may be set back. */
export function uptimeGauge(): Family {
  const since = performance.now();
  return gauge("mcp_gateway_uptime_seconds", "Seconds since the start.", () =>
    Math.floor((performance.now() - since) / 1000),
  );
}

function waitingGauges({ waiting: { parking, listeners } }: Engine): Family[] {
  return [
    gauge("mcp_gateway_parked_calls", "Calls waiting for an answer from their caller.", () => parking.size),
    counter(
      "mcp_gateway_parked_refused_total",
      "Questions to callers refused because no waiting slot was free, they were too long, or too many came at once.",
      () => parking.refused,
    ),
    gauge("mcp_gateway_listens", "Open subscriptions/listen streams.", () => listeners.size),
    gauge("mcp_gateway_subscribed_resources", "Resources that callers are subscribed to.", () => listeners.uris),
  ];
}

/** Server states that need no attention; an idle server is started by its next call. */
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
    gauge("mcpgw_server_ok", "0 while an enabled server cannot be used.", () =>
      servers().map(({ id, state }) => ({ labels: { server: id }, value: usable.has(state) ? 1 : 0 })),
    ),
    gauge(
      "mcpgw_server_restarts",
      "Restarts of a server since the gateway started, and unexpected exits of its per-caller instances.",
      perServer("restarts"),
    ),
    gauge("mcpgw_server_in_flight", "Calls in flight to a server.", perServer("inFlight")),
    gauge("mcpgw_server_tools", "Tools that a server offers.", perServer("tools")),
    gauge("mcpgw_server_instances", "Per-caller instances of a server.", perServer("instances")),
    gauge("mcpgw_server_streams", "Streams open to a server, not counting calls.", perServer("streams")),
    gauge("mcpgw_server_subscriptions", "Subscribed resources of a server.", perServer("subscriptions")),
    counter(
      "mcpgw_server_messages_dropped_total",
      "Messages from a server that were dropped because nothing waited for them.",
      perServer("dropped"),
    ),
  ];
}

function trafficGauges({ running, traffic }: Engine): Family[] {
  return [
    gauge("mcpgw_requests_in_flight", "Requests in flight.", () => running.size),
    gauge("mcpgw_sessions", "Open legacy sessions.", () => traffic.sessions),
    gauge("mcpgw_streams", "Open event streams and WebSockets.", () => traffic.streams),
    gauge("mcpgw_client_requests", "Requests to clients that are waiting for a response.", () => traffic.asked),
    counter(
      "mcpgw_notifications_lost_total",
      "Notifications lost because a client was too slow or disconnected for too long.",
      () => traffic.lost,
    ),
    counter("mcpgw_client_answers_stray_total", "Client responses that match no request.", () => traffic.stray),
    counter(
      "mcpgw_connections_refused_total",
      "Requests refused because the connection limit was reached (listen.maxConnections).",
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
      "Seconds since every checkpoint file last received a checkpoint, or since the start if it has none; none is due while nothing is recorded.",
      () => Math.floor(health().checkpointLag.us / 1_000_000),
    ),
    gauge(
      "mcpgw_audit_checkpoint_behind_records",
      "Records after the last checkpoint that every checkpoint file has received; all records if a file has none.",
      () => health().checkpointLag.records,
    ),
    gauge("mcpgw_audit_checkpoint_ok", "1 while checkpoints can be stored.", () =>
      health().checkpointFault === null ? 1 : 0,
    ),
    gauge("mcpgw_audit_unrecorded", "Calls allowed without a record (onFailure: allow).", () => health().unrecorded),
  ];
}
