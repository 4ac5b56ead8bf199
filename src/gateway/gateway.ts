import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type {
  Notifier,
  Audit,
  Authn,
  Catalog,
  Limits,
  Metrics,
  Policy,
  Sealer,
  Upstreams,
  Validator,
} from "../core/ports.ts";
import type { ScanLimits } from "../mcp/scan.ts";
import type { Listeners } from "./listeners.ts";
import type { Parking } from "./parking.ts";

/** What a caller is told of this gateway. */
export type Identity = { readonly name: string; readonly version: string };

/** Everything the path needs, compiled once from one configuration. A reload builds another and swaps the reference. */
export type Gateway = {
  readonly identity: Identity;
  readonly authn: Authn;
  readonly limits: Limits;
  readonly policy: Policy;
  /** The policy that holds now, which a call that began before a reload may outlive its own by. */
  readonly inForce: () => Pick<Policy, "admitsInput">;
  /** Replaced as a whole when a server's tools change. */
  catalog: Catalog;
  readonly validator: Validator;
  readonly upstreams: Upstreams;
  /** Resolves when each server that starts at boot was listed once or failed, or has been given long enough. */
  booted: Promise<void>;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly notifier: Notifier;
  readonly sealer: Sealer;
  readonly parking: Parking;
  readonly listeners: Listeners;
  readonly clock: Clock;
  /** ULIDs for calls. */
  readonly nextId: () => string;
  readonly log: Logger;
  /** Caps on a message from a caller: bytes, nesting, number of values, messages in a batch; and on a result: bytes. */
  readonly shape: ScanLimits & { readonly body: number; readonly batch: number; readonly result: number };
};
