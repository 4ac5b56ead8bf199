import type { Asker } from "./event.ts";
import type { Rate } from "./rate.ts";

/** Why a caller has lost its rights; `dropped` when a reload removed or changed its key, or who may call without one. */
const losses = ["revoked", "frozen", "expired", "dropped"] as const;
export type Loss = (typeof losses)[number];

/** Why a principal whose `revoked` has fired lost its rights. */
export const lossOf = ({ reason }: AbortSignal): Loss => losses.find((loss) => loss === reason) ?? "revoked";

/** Who makes a call, after authentication. There is no empty or default principal. */
export type Principal = {
  /** Owner of sessions, child processes and handles: `key:<id>`, `local:<uid>`, `stdio:<consumer>` or `anonymous`. */
  readonly id: string;
  readonly method: "api-key" | "none" | "stdio" | "local";
  readonly keyId: string | null;
  readonly consumerId: string;
  readonly name: string;
  readonly roles: readonly string[];
  /** Replaces the consumer's limit for this key; null: the configured limit holds. */
  readonly rate: Rate | null;
  /**
   * Aborts, with a `Loss` as reason, when the key is revoked, expires or is dropped by a reload, or when all keys are
   * frozen; streams end with it.
   */
  readonly revoked: AbortSignal;
};

/** Where a request came from, as the transport saw it. */
export type Source = {
  readonly transport: "http" | "stdio" | "control";
  /** Peer address without port; null when there is no network. */
  readonly ip: string | null;
  readonly loopback: boolean;
  /** The request carried `Forwarded` or `X-Forwarded-*`. */
  readonly forwarded: boolean;
  /** The process that asks over the control socket. */
  readonly peer?: Asker;
};

/** A source on this machine without a network, whose process is not known. */
export function localSource(transport: "stdio" | "control"): Source {
  return { transport, ip: null, loopback: true, forwarded: false };
}
