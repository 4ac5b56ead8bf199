import type { Revision } from "../core/inbound.ts";
import { type Implementation, implementationText, serverInfoKey } from "./meta.ts";
import { isModern, isRevision, latestLegacy, modernRevision } from "./revisions.ts";

/** What both handshakes say of us. */
export type Introduction = {
  readonly server: Implementation;
  /** Raw JSON. */
  readonly capabilities: string;
  readonly instructions: string | null;
};

/** The revision that `initialize` answers with: the one asked for when it is a legacy one, else the latest of those. */
export function negotiate(requested: unknown): Revision {
  return isRevision(requested) && !isModern(requested) ? requested : latestLegacy;
}

/** The result of `initialize`, raw JSON. */
export function initializeResult(revision: Revision, { server, capabilities, instructions }: Introduction): string {
  const info = implementationText(server);
  return `{"protocolVersion":"${revision}","capabilities":${capabilities},"serverInfo":${info}${told(instructions)}}`;
}

/** The result of `server/discover`, raw JSON; never to be cached, since a reload may change what is offered. */
export function discoverResult({ server, capabilities, instructions }: Introduction): string {
  const meta = `{"${serverInfoKey}":${implementationText(server)}}`;
  const rest = `"ttlMs":0,"cacheScope":"private","_meta":${meta}`;
  const versions = JSON.stringify([modernRevision]);
  return `{"resultType":"complete","supportedVersions":${versions},"capabilities":${capabilities}${told(instructions)},${rest}}`;
}

const told = (instructions: string | null): string =>
  instructions === null ? "" : `,"instructions":${JSON.stringify(instructions)}`;
