import type { Party } from "../../core/call.ts";
import { canBeAsked, type ClientCapabilities, type Era } from "../../core/inbound.ts";
import { memoize } from "../../core/memoize.ts";
import { declaredCapabilities } from "../capabilities.ts";
import { digest } from "../identity.ts";
import type { ServerOptions } from "../options.ts";
import { factsOf } from "../transports/index.ts";

/** The kind of instance that a call needs; calls with equal keys share one. */
export type Spec = {
  readonly key: string;
  readonly era: Era;
  /** The capabilities that the handshake declares, raw JSON. */
  readonly declares: string;
  /** Whether the server may ask the client anything. */
  readonly asks: boolean;
  /** The only principal that it serves, null for everybody. */
  readonly owner: string | null;
  /** The only legacy session that it serves, null for any. */
  readonly session: string | null;
};

/**
 * The instance that calls of a party need. A shared instance must not carry anything from one caller to another. So
 * only instances that declare no capabilities are shared, and modern ones over HTTP, which keep nothing.
 */
export function specOf(party: Party, options: ServerOptions, era: Era): Spec {
  const { ours, perRequest } = factsOf(options);
  const stateless = ours || (perRequest && era === "modern");
  const isolation = options.isolation ?? (stateless ? "shared" : "per-principal");
  if (isolation === "shared")
    return { key: `shared ${era}`, era, declares: "{}", asks: false, owner: null, session: null };
  const asks = era === "legacy" && canBeAsked(party.capabilities);
  const alone = isolation === "per-session" || (asks && party.inbound.era === "legacy");
  const session = alone ? (party.session?.id ?? null) : null;
  // A modern server learns with each request what the client can do.
  const declares = era === "modern" || ours ? "{}" : declaredCapabilities(party);
  const distinct = declares === "{}" ? null : digestOf(party.capabilities);
  const owner = party.who.id;
  return { key: JSON.stringify([owner, session, era, distinct]), era, declares, asks, owner, session };
}

// A session's calls all need the digest of the same capabilities.
const digestOf = memoize((capabilities: ClientCapabilities) => digest(declaredCapabilities({ capabilities })));
