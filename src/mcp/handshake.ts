import type { Revision } from "../core/inbound.ts";
import { type Implementation, serverInfoKey } from "./meta.ts";
import { isModern, isRevision, latestLegacy, modernRevision } from "./revisions.ts";

/** What both handshakes say of us. */
export type Introduction = {
  readonly server: Implementation;
  /** Whether this caller can be told that its list changed. */
  readonly listChanged: boolean;
  readonly instructions: string | null;
};

/** The revision that `initialize` answers with: the one asked for when it is a legacy one, else the latest of those. */
export function negotiate(requested: unknown): Revision {
  return isRevision(requested) && !isModern(requested) ? requested : latestLegacy;
}

/** The result of `initialize`, raw JSON. */
export function initializeResult(revision: Revision, { server, listChanged, instructions }: Introduction): string {
  return JSON.stringify({
    protocolVersion: revision,
    capabilities: { tools: { listChanged } },
    serverInfo: { name: server.name, version: server.version },
    ...(instructions !== null && { instructions }),
  });
}

/** The result of `server/discover`, raw JSON; never to be cached, since a reload may change what is offered. */
export function discoverResult({ server, listChanged, instructions }: Introduction): string {
  return JSON.stringify({
    resultType: "complete",
    supportedVersions: [modernRevision],
    capabilities: { tools: { listChanged } },
    ...(instructions !== null && { instructions }),
    ttlMs: 0,
    cacheScope: "private",
    _meta: { [serverInfoKey]: { name: server.name, version: server.version } },
  });
}
