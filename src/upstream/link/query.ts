import { Failure } from "../../core/failure.ts";
import { clientCapabilitiesKey, clientInfoKey, protocolVersionKey } from "../../mcp/meta.ts";
import type { Answer, Ask, Link, LinkHost, Peer, Purpose } from "./link.ts";

/** What the gateway asks a server for itself. */
export type Query = {
  readonly method: string;
  readonly peer: Peer;
  /** Milliseconds; null for a request that listens for ever. */
  readonly timeout: number | null;
  readonly params?: Record<string, unknown>;
  /** Capabilities; none where it is left out. */
  readonly declares?: Readonly<Record<string, unknown>> | undefined;
  /** Told of what the server says meanwhile, for a request that listens. */
  readonly notified?: (method: string, params: string) => void;
  readonly signal?: AbortSignal;
};

const own: Purpose = { kind: "own" };
const never = new AbortController().signal;

/** Asks on the gateway's own behalf; throws as `Link.ask` does. */
export function query(link: Link, { client }: Pick<LinkHost, "client">, query: Query): Promise<Answer> {
  const { method, peer, timeout, params = {}, declares = {}, notified, signal = never } = query;
  const meta = {
    [protocolVersionKey]: peer.revision,
    [clientInfoKey]: client,
    [clientCapabilitiesKey]: declares,
  };
  const text = JSON.stringify(peer.era === "modern" ? { ...params, _meta: meta } : params);
  const ask: Ask = {
    method,
    params: () => text,
    peer,
    timeout,
    most: timeout ?? Infinity,
    signal,
    purpose: notified ? { kind: "listen", notified } : own,
    headers: null,
  };
  return link.ask(ask);
}

/** A connection that died under a request that changes nothing is no reason to give up. */
export async function askTwice(ask: () => Promise<Answer>): Promise<Answer> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Failure && error.code === "lost") return ask();
    throw error;
  }
}
