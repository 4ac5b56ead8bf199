import type { Asker } from "./event.ts";
import type { Rate } from "./rate.ts";

/** Why a caller has lost its rights; `dropped` if a reload removed or changed its key, or who may call without one. */
const losses = ["revoked", "frozen", "expired", "dropped"] as const;
export type Loss = (typeof losses)[number];

/** Returns why a principal whose `revoked` has fired lost its rights. */
export const lossOf = ({ reason }: AbortSignal): Loss => losses.find((loss) => loss === reason) ?? "revoked";

/** The authenticated caller of a call. There is no empty or default principal. */
export type Principal = {
  /** Owner of sessions, child processes and handles: `key:<id>`, `local:<uid>`, `stdio:<consumer>` or `anonymous`. */
  readonly id: string;
  readonly method: "api-key" | "none" | "stdio" | "local";
  readonly keyId: string | null;
  readonly consumerId: string;
  readonly name: string;
  readonly roles: readonly string[];
  /** Replaces the consumer's limit for this key; null if the configured limit applies. */
  readonly rate: Rate | null;
  /** Aborts with a `Loss` as reason if the key is revoked, expires or is dropped, or keys are frozen; ends streams. */
  readonly revoked: AbortSignal;
};

/** The origin of a request, as the transport saw it. */
export type Source = {
  readonly transport: "http" | "stdio" | "control";
  /** Peer address without port; null if there is no network. */
  readonly ip: string | null;
  readonly loopback: boolean;
  /** Set if the request carried `Forwarded` or `X-Forwarded-*`. */
  readonly forwarded: boolean;
  /** The requesting process on the control socket. */
  readonly peer?: Asker;
};

/** Returns a source on this machine without a network, whose process is unknown. */
export function localSource(transport: "stdio" | "control"): Source {
  return { transport, ip: null, loopback: true, forwarded: false };
}
