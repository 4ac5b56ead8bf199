import { Failure } from "../../core/failure.ts";
import { clientCapabilitiesKey, clientInfoKey, protocolVersionKey } from "../../mcp/meta.ts";
import type { Answer, Link, Peer, Purpose } from "./link.ts";

/** A request that the gateway sends for itself. */
export type Query = {
  readonly method: string;
  readonly peer: Peer;
  /** Milliseconds; null for a request that listens without a time limit. */
  readonly timeout: number | null;
  readonly params?: Record<string, unknown>;
  /** The capabilities to declare; none if left out. */
  readonly declares?: Readonly<Record<string, unknown>> | undefined;
  /** Takes the server's notifications, for a request that listens. */
  readonly notified?: (method: string, params: string) => void;
  readonly signal?: AbortSignal;
};

const own: Purpose = { kind: "own" };
const never = new AbortController().signal;

/** Sends a request on the gateway's own behalf; throws as `Link.request` does. */
export function query(link: Link, query: Query): Promise<Answer> {
  const { method, peer, timeout, params = {}, declares = {}, notified, signal = never } = query;
  const meta = {
    [protocolVersionKey]: peer.revision,
    [clientInfoKey]: link.host.client(),
    [clientCapabilitiesKey]: declares,
  };
  const text = JSON.stringify(peer.era === "modern" ? { ...params, _meta: meta } : params);
  return link.request({
    method,
    params: () => text,
    peer,
    timeout,
    most: timeout ?? Infinity,
    signal,
    purpose: notified ? { kind: "listen", notified } : own,
    headers: null,
  });
}

/** Sends a request that changes nothing, and once more if its connection was lost. */
export async function repeatIfLost(send: () => Promise<Answer>): Promise<Answer> {
  try {
    return await send();
  } catch (error) {
    if (error instanceof Failure && error.code === "lost") return send();
    throw error;
  }
}
