import type { Principal } from "../../src/core/principal.ts";

/** Returns a principal for tests that can be revoked. */
export function principal(id = "key:k1", roles: readonly string[] = ["reader"]): Principal & { revoke(): void } {
  const controller = new AbortController();
  return {
    id,
    method: "api-key",
    keyId: id.replace(/^key:/, ""),
    consumerId: `consumer-${id.replace(/^key:/, "")}`,
    name: id,
    roles,
    rate: null,
    revoked: controller.signal,
    revoke: () => controller.abort(),
  };
}

/** Returns a clock that moves only when it is told to. */
export function stillClock(start = 0) {
  let us = start;
  return {
    now: () => 1_700_000_000_000_000 + us,
    mono: () => us,
    advance(ms: number) {
      us += ms * 1000;
    },
  };
}
