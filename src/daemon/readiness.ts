import type { Readiness } from "../serve/health.ts";
import type { Engine } from "./engine.ts";

export type State = "starting" | "ready" | "draining";

/** Returns why the gateway is not ready; null if it accepts calls and can record them. */
export function notReady(engine: Engine, state: State): string | null {
  const { ok, reason } = engine.stores.audit.health();
  const awaited = awaitedBy(engine, state);
  if (state !== "ready") return `it is ${state}${awaited.length > 0 ? ` and waits for ${awaited.join(", ")}` : ""}`;
  return ok ? null : `the audit log cannot record: ${reason}`;
}

/** Returns the servers that must start before the gateway is ready. */
export const awaitedBy = (engine: Engine, state: State): string[] =>
  state === "starting" ? engine.upstreams().awaited() : [];

/** Describes how callers are authenticated. */
export function authOf(engine: Engine): string {
  const { type, roles } = engine.loaded().config.auth;
  return type === "none" ? `none: every local caller is anonymous (${roles?.join(", ")})` : type;
}

/** Returns the answer of `/ready`. */
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
