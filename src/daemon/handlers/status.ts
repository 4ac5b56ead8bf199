import type { Answer } from "../../control/api.ts";
import type { ConsumerView } from "../../control/schemas.ts";
import { rateText } from "../../core/rate.ts";
import type { Self } from "../../core/self.ts";
import { nothing } from "../../usage/counters.ts";
import { apartFor, groupUsage } from "../../usage/query.ts";
import type { Archive } from "../archive.ts";
import type { Engine } from "../engine.ts";
import { authOf, awaitedBy, notReady, type State } from "../readiness.ts";

/** The state that only the serving process knows. */
export type Serving = {
  /** Epoch ms. */
  readonly startedAt: number;
  readonly state: () => State;
  readonly listen: () => readonly string[];
  /** Returns warnings about settings in use that differ from the files on this machine. */
  readonly outdated: () => readonly string[];
};

/** Returns the warnings about the current configuration. */
export function configWarnings(engine: Engine, serving: Serving): string[] {
  return [...engine.warnings(), ...serving.outdated()];
}

/** Returns the whole state of the gateway, with warnings for the operator. */
export function statusOf(engine: Engine, self: Self, serving: Serving): Answer<"status"> {
  const { stores } = engine;
  const { file } = engine.loaded();
  const { chain, records, durable, durability, payloads, onFailure, checkpoint } = stores.audit.health();
  return {
    version: self.version,
    pid: process.pid,
    state: serving.state(),
    notReady: notReady(engine, serving.state()),
    waitsFor: awaitedBy(engine, serving.state()),
    startedAt: serving.startedAt,
    listen: serving.listen(),
    config: file,
    stateDir: stores.paths.state,
    auth: authOf(engine),
    frozen: stores.keyring.frozen,
    limits: limitsOf(engine).join(", ") || "none",
    audit: { chain, records, durable, durability, payloads, onFailure, checkpoint },
    servers: engine.current().upstreams.status(),
    sandbox: "none",
    warnings: [...configWarnings(engine, serving), ...warningsOf(engine)],
  };
}

function warningsOf(engine: Engine): string[] {
  const { config } = engine.loaded();
  const health = engine.stores.audit.health();
  return [
    ...(health.ok ? [] : [`the audit log cannot record: ${health.reason}`]),
    ...(health.backlog > 0 ? [`acts that took effect but are not recorded yet: ${health.backlog}`] : []),
    ...(engine.stores.keyring.saved ? [] : ["revoked keys or a freeze are in effect but not stored yet"]),
    ...(health.checkpointFault === null ? [] : [`checkpoints are not stored: ${health.checkpointFault}`]),
    ...(health.onFailure === "allow"
      ? [`audit.onFailure is allow; calls that passed unrecorded: ${health.unrecorded}`]
      : []),
    ...(config.auth.type === "none" ? ["auth.type is none: callers are not authenticated"] : []),
    ...(limitsOf(engine).length === 0 ? ["no rate limits are configured: callers are not limited"] : []),
  ];
}

function limitsOf({ loaded, stores }: Engine): string[] {
  const { perMinute, burst, perTool } = loaded().config.limits;
  const keys = stores.keyring.list().filter((key) => key.state === "active" && key.perMinute !== null).length;
  return [
    ...(perMinute === undefined ? [] : [`${rateText(perMinute)} per consumer`]),
    ...(burst === undefined ? [] : [`bursts of ${burst}`]),
    ...(perTool.length === 0 ? [] : [`${perTool.length} in limits.perTool`]),
    ...(keys === 0 ? [] : [`rateLimit of ${keys} ${keys === 1 ? "key" : "keys"}`]),
  ];
}

const notCounted = { calls: null, errors: null, denied: null };

/** Returns every consumer that holds a key or has called in the last 24 hours, with its usage in that time. */
export async function consumersOf(engine: Engine, archive: Archive): Promise<ConsumerView[]> {
  const lastDay = { since: (Date.now() - 86_400_000) * 1000, apart: apartFor.consumer };
  const { enabled } = engine.loaded().config.usage;
  const rows = enabled ? groupUsage((await archive.usage(lastDay)).rows, "consumer") : [];
  const used = new Map(rows.map((row) => [row.name, row]));
  const keys = Map.groupBy(engine.stores.keyring.list(), (key) => key.consumerId);
  return [...new Set([...keys.keys(), ...used.keys()])].sort().map((consumer) => {
    const own = keys.get(consumer) ?? [];
    // The id of a principal without a key is its consumer id (as `local:0`), or `stdio:` and its consumer id.
    const principals = [consumer, `stdio:${consumer}`, ...own.map(({ id }) => `key:${id}`)];
    const { calls, errors, denied } = used.get(consumer) ?? (enabled ? nothing : notCounted);
    return {
      consumer,
      roles: [...new Set(own.flatMap(({ roles }) => roles))].sort(),
      keys: own.filter(({ state }) => state === "active").length,
      inFlight: principals.reduce((sum, principal) => sum + engine.inFlight(principal), 0),
      calls,
      errors,
      denied,
    };
  });
}
