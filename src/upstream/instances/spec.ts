import type { Party } from "../../core/call.ts";
import { acceptsQuestions, type ClientCapabilities, type Era } from "../../core/inbound.ts";
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
  /** The only principal that it serves; null: all. */
  readonly owner: string | null;
  /** The only legacy session that it serves; null: any. */
  readonly session: string | null;
};

/**
 * Returns the instance that a party's calls need. A shared instance must not carry anything from one caller to another,
 * so only instances that declare no capabilities are shared, and modern ones over HTTP, which keep no state.
 */
export function specOf(party: Party, options: ServerOptions, era: Era): Spec {
  const { ours, perRequest } = factsOf(options);
  const stateless = ours || (perRequest && era === "modern");
  const isolation = options.isolation ?? (stateless ? "shared" : "per-principal");
  if (isolation === "shared")
    return { key: `shared ${era}`, era, declares: "{}", asks: false, owner: null, session: null };
  const asks = era === "legacy" && acceptsQuestions(party.capabilities);
  const alone = isolation === "per-session" || (asks && party.inbound.era === "legacy");
  const session = alone ? (party.session?.id ?? null) : null;
  // A modern server receives the client's capabilities with each request.
  const declares = era === "modern" || ours ? "{}" : declaredCapabilities(party);
  const distinct = declares === "{}" ? null : digestOf(party.capabilities);
  const owner = party.who.id;
  return { key: JSON.stringify([owner, session, era, distinct]), era, declares, asks, owner, session };
}

// All calls of a session need the digest of the same capabilities.
const digestOf = memoize((capabilities: ClientCapabilities) => digest(declaredCapabilities({ capabilities })));
