import { silent } from "../../src/core/log.ts";
import { HttpExchange } from "../../src/upstream/http/http-exchange.ts";
import type { LinkHost, LinkRequest } from "../../src/upstream/link/link.ts";

const limits = () => ({ depth: 64, nodes: 1_000, result: 1_000_000, batch: 100 });

/** An owner of a link that ignores everything outside of requests. */
export const linkHost: LinkHost = {
  server: "a",
  limits,
  ownLimits: limits,
  client: () => ({ name: "t", version: "0" }),
  secrets: () => [],
  declares: "{}",
  asker: () => null,
  timeout: () => 1_000,
  log: silent,
  notified: () => false,
  renewed: () => {},
  dropped: () => {},
};

/** Returns a minimal request of the gateway itself. */
export const linkRequest = (more: Partial<LinkRequest> = {}): LinkRequest => ({
  method: "tools/call",
  params: () => null,
  peer: { era: "legacy", revision: "2025-11-25" },
  timeout: null,
  most: Infinity,
  signal: new AbortController().signal,
  purpose: { kind: "own" },
  headers: null,
  ...more,
});

/** Returns an exchange whose answer never arrives. */
export const exchangeOf = (id: number, one: LinkRequest): HttpExchange =>
  new HttpExchange(id, one, null, new AbortController());

/** Resolves once everything that was answered has been passed on. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
