import { systemClock } from "../../src/core/clock.ts";
import { Failure } from "../../src/core/failure.ts";
import { silent } from "../../src/core/log.ts";
import type { Audit, Limits, Upstreams } from "../../src/core/ports.ts";
import { createUlid } from "../../src/gateway/ulid.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import { Listeners } from "../../src/gateway/listeners.ts";
import { Parking } from "../../src/gateway/input/parking.ts";
import { limitsOptions } from "../../src/limits/options.ts";
import { createSealer } from "../../src/seal/seal.ts";
import { createValidator } from "../../src/validate/validate.ts";
import { asBegun } from "./call.ts";

const unavailable = () => Promise.reject(new Failure("upstream-down", "There is no server."));

/** Upstreams without servers. */
export const quietUpstreams: Upstreams = {
  send: unavailable,
  hold: () => () => {},
  subscribe: unavailable,
  followTasks: unavailable,
  learnTools: () => null,
  callerTools: () => new Map(),
  notify() {},
  endSession() {},
  listings: () => [],
  status: () => [],
  settled: () => Promise.resolve(),
};

/** An audit that accepts everything and keeps nothing. */
export const quietAudit: Audit = {
  begin: (call) => Promise.resolve(asBegun(call)),
  end: () => Promise.resolve(),
  once(call) {
    call.recordedOnce = true;
    return Promise.resolve();
  },
  input: () => Promise.resolve(),
  inputOutside: () => Promise.resolve(),
  recordEvent: () => Promise.resolve(),
};

/** Limits that never refuse. */
export const quietLimits: Limits = {
  blockedFor: () => 0,
  failed() {},
  admit() {},
  release() {},
  carry: () => () => {},
  take() {},
  barring: () => null,
};

const key = new Uint8Array(32).fill(7);

/** Returns a gateway of quiet ports, with the real parts where these need nothing else; `over` replaces parts. */
export function plainGateway(over: Pick<Gateway, "authn" | "policy" | "catalog"> & Partial<Gateway>): Gateway {
  const { clock = systemClock } = over;
  const gw: Gateway = {
    identity: { name: "mcpgw", version: "9" },
    limits: quietLimits,
    inForce: () => gw,
    validator: createValidator(clock),
    upstreams: quietUpstreams,
    settled: Promise.resolve(),
    audit: quietAudit,
    metrics: { count() {} },
    notifier: { join: () => () => {}, served() {}, reach: () => null, notify() {} },
    sealer: createSealer([key, key], clock),
    parking: new Parking(),
    listeners: new Listeners(),
    clock,
    nextId: createUlid(() => clock.now() / 1000),
    log: silent,
    caps: limitsOptions.parse({}),
    ...over,
  };
  return gw;
}
