import { type Revision, revisions } from "../core/inbound.ts";
import { type Implementation, implementationText, serverInfoKey } from "./meta.ts";
import { isLegacyRevision, latestLegacy } from "./revisions.ts";

/** The contents of both handshakes. */
export type Introduction = {
  readonly server: Implementation;
  /** The capabilities, raw JSON. */
  readonly capabilities: string;
  readonly instructions: string | null;
};

/** Returns the revision to answer `initialize` with: the requested one if it is legacy, else the latest legacy one. */
export function negotiate(requested: unknown): Revision {
  return isLegacyRevision(requested) ? requested : latestLegacy;
}

/** Returns the result of `initialize` as raw JSON. */
export function initializeResult(revision: Revision, { server, capabilities, instructions }: Introduction): string {
  const said = instructions === null ? "" : `,"instructions":${JSON.stringify(instructions)}`;
  return `{"protocolVersion":"${revision}","capabilities":${capabilities},"serverInfo":${implementationText(server)}${said}}`;
}

/** Returns the result of `server/discover` as raw JSON. Clients must not cache it, since a reload may change it. */
export function discoverResult({ server, capabilities, instructions }: Introduction): string {
  const versions = JSON.stringify(revisions.toReversed());
  const said = instructions === null ? "" : `,"instructions":${JSON.stringify(instructions)}`;
  const meta = `{"${serverInfoKey}":${implementationText(server)}}`;
  return `{"resultType":"complete","supportedVersions":${versions},"capabilities":${capabilities}${said},"ttlMs":0,"cacheScope":"private","_meta":${meta}}`;
}
