import type { Readiness } from "../serve/health.ts";
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
