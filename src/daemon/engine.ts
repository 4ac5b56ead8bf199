import type { Loaded } from "../config/load.ts";
import type { AuditEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { LocalServer } from "../core/ports.ts";
import { withEarlier } from "../core/secret.ts";
import type { Self } from "../core/self.ts";
import { type Built, buildGateway } from "../gateway/build.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { Listeners } from "../gateway/listeners.ts";
import { CallMetrics } from "../gateway/metrics.ts";
import { Parking } from "../gateway/input/parking.ts";
import { createLimitsState } from "../limits/limits.ts";
import { Running } from "../serve/running.ts";
import { Notifier } from "../session/notifier.ts";
import { Traffic } from "../session/traffic.ts";
import { placed } from "./loading.ts";
import { fileLimitWarning } from "./open-files.ts";
import type { Stores } from "./stores.ts";

export type EngineOptions = {
  readonly stores: Stores;
  readonly loaded: Loaded;
  readonly self: Self;
  readonly log: Logger;
  /** Id of this run, which marks its child processes. */
  readonly run: string;
  readonly local: readonly LocalServer[];
  /** Called before a server is started; throws if there is no caller to serve. */
  readonly admit?: ((gateway: Gateway, stores: Stores) => Promise<unknown>) | undefined;
};

/** A running gateway, used by the daemon and by an embedded `serve`. */
export type Engine = {
  readonly stores: Stores;
  readonly metrics: CallMetrics;
  readonly running: Running;
  readonly traffic: Traffic;
  /** Calls that wait for their callers' answers, and open subscriptions. */
  readonly waiting: { readonly parking: Parking; readonly listeners: Listeners };
  /** Returns the current gateway. Call it for each request, since a reload replaces the gateway. */
  current(): Gateway;
  upstreams(): Built["upstreams"];
  /** Returns the current configuration. Its secrets include those of earlier configurations. */
  loaded(): Loaded;
  /** When the current configuration was loaded, epoch ms. */
  loadedAt(): number;
  warnings(): readonly string[];
  /** Number of requests in flight of a principal, by its id. */
  inFlight(principal: string): number;
  /** Replaces the whole configuration on behalf of `actor`. If that fails, throws and changes nothing. */
  replace(next: Loaded, actor: string): Promise<void>;
  /** Waits `ms` for running calls to end, then cancels the rest. */
  finish(ms: number): Promise<void>;
  close(): Promise<void>;
};

// How long servers may take to stop, and how long calls to a removed server may continue after a reload, ms.
const stopTimeout = 5_000;
const reloadDrainTimeout = 60_000;

/** Builds the first gateway, records its configuration, then activates it. Throws if it cannot be recorded. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const { stores, loaded: first, self, log, run, local, admit } = options;
  const metrics = new CallMetrics();
  const running = new Running();
  const traffic = new Traffic(log);
  const limits = createLimitsState(stores.clock);
  const inForce = () => built.gateway;
  const notifier = new Notifier(() => inForce().catalog);
  const waiting = { parking: new Parking(), listeners: new Listeners() };
  const secrets = () => loaded.secrets;
  const { notice } = notifier;
  const foundations = { ...stores, limits, metrics, notifier, notice, inForce, ...waiting, log, self, run, secrets };
  const onTools = () => notifier.changed();
  const build = ({ config, locate }: Loaded, previous: Built | null): Built =>
    placed(locate, () => buildGateway({ config, foundations, local, previous, onTools }));
  let loaded = first;
  let loadedAt = Date.now();
  let built = build(first, null);
  built.takeKeys();
  await admit?.(built.gateway, stores);
  await stores.audit.recordEvent(loadedEvent(first, built, "system"));
  built.activate();

  return {
    stores,
    metrics,
    running,
    traffic,
    waiting,
    current: inForce,
    upstreams: () => built.upstreams,
    loaded: () => loaded,
    loadedAt: () => loadedAt,
    warnings: () => warningsOf(loaded, built),
    inFlight: (principal) => limits.inFlight.of(principal),
    async replace(next, actor) {
      const made = build(next, built);
      await stores.audit.recordEvent(loadedEvent(next, made, actor));
      made.activate();
      stores.audit.configure(next.config.audit);
      built = made;
      loaded = { ...next, secrets: withEarlier(next.secrets, loaded.secrets) };
      loadedAt = Date.now();
      drainPrevious(made, log);
      onTools();
    },
    async finish(ms) {
      waiting.listeners.endAll();
      await waiting.parking.close();
      await running.end(ms, stopTimeout);
    },
    async close() {
      try {
        await built.upstreams.close(stopTimeout);
      } finally {
        await stores.close();
      }
    },
  };
}

function rootWarnings({ servers }: Loaded["config"]): string[] {
  if (process.getuid?.() !== 0 || !servers.some((server) => "command" in server && server.enabled)) return [];
  return ["the gateway runs as root, and so does every server that it starts; run it as a dedicated user"];
}

const loadedEvent = ({ file, digest, config }: Loaded, { gateway }: Built, actor: string): AuditEvent => ({
  type: "config.loaded",
  actor,
  facts: { file, digest, policy: gateway.policy.digest, ...serversOf(config) },
});

/** Lists which servers are enabled, since the digests do not show it. */
const serversOf = ({ servers }: Loaded["config"]) =>
  Object.fromEntries(servers.map(({ id, enabled }) => [`server.${id}`, enabled ? "on" : "off"] as const));

function drainPrevious({ upstreams }: Built, log: Logger): void {
  upstreams.drainPrevious(reloadDrainTimeout).catch((error: unknown) => {
    log.warn("a removed server did not stop cleanly", { cause: String(error) });
  });
}

function warningsOf({ warnings, config }: Loaded, built: Built): string[] {
  const files = fileLimitWarning(config.listen.maxConnections);
  return [
    ...warnings.map(({ path, message }) => (path ? `${path}: ${message}` : message)),
    ...built.warnings(),
    ...rootWarnings(config),
    ...(files === null ? [] : [files]),
  ];
}
