import { type Revision, revisions } from "../core/inbound.ts";
import { type Implementation, implementationText, serverInfoKey } from "./meta.ts";
import { isModern, isRevision, latestLegacy } from "./revisions.ts";

/** What both handshakes say of us. */
export type Introduction = {
  readonly server: Implementation;
  /** What is offered, raw JSON. */
  readonly capabilities: string;
  readonly instructions: string | null;
};

/** The revision that `initialize` answers with: the one asked for when it is a legacy one, else the latest of those. */
export function negotiate(requested: unknown): Revision {
  return isRevision(requested) && !isModern(requested) ? requested : latestLegacy;
}

/** The result of `initialize`, raw JSON. */
export function initializeResult(revision: Revision, { server, capabilities, instructions }: Introduction): string {
  const said = instructions === null ? "" : `,"instructions":${JSON.stringify(instructions)}`;
  return `{"protocolVersion":"${revision}","capabilities":${capabilities},"serverInfo":${implementationText(server)}${said}}`;
}

/** The result of `server/discover`, raw JSON; never to be cached, since a reload may change what is offered. */
export function discoverResult({ server, capabilities, instructions }: Introduction): string {
  const versions = JSON.stringify(revisions.toReversed());
  const said = instructions === null ? "" : `,"instructions":${JSON.stringify(instructions)}`;
  const meta = `{"${serverInfoKey}":${implementationText(server)}}`;
  return `{"resultType":"complete","supportedVersions":${versions},"capabilities":${capabilities}${said},"ttlMs":0,"cacheScope":"private","_meta":${meta}}`;
}
