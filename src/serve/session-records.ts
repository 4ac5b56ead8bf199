import { sessionName } from "../audit/session-name.ts";
import type { IdentifiedCall } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { Inbound, Revision } from "../core/inbound.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Session } from "../session/session.ts";
import type { SessionEnd, Sessions } from "../session/sessions.ts";

/** Records the opening of a session; resolves once the record is committed. */
export function recordOpening({ audit }: Gateway, session: Session, { client }: Inbound): Promise<void> {
  const facts = { session: sessionName(session), client: client?.name ?? null, revision: session.revision };
  return audit.recordEvent({ type: "session.open", ...ownerOf(session), facts });
}

/** Opens a session over HTTP and records it. Throws `overloaded`, `audit-unavailable`. */
export async function openSession(
  gw: Gateway,
  sessions: Sessions,
  { inbound, scope, who }: IdentifiedCall,
  revision: Revision,
): Promise<Session> {
  const session = sessions.open(who, { revision, capabilities: inbound.capabilities, scope });
  await recordOpening(gw, session, inbound).catch((error: unknown) => {
    sessions.end(session, null);
    throw error;
  });
  if (session.ended) throw new Failure("overloaded", "The session ended before it was open; send initialize again.");
  return session;
}

/** Stops the server instances that were started for an ended session, and records its end. */
export function finishSession({ audit, upstreams, log }: Gateway, session: Session, reason: SessionEnd): void {
  upstreams.endSession(session.id);
  const type = "session.close";
  audit
    .recordEvent({ type, ...ownerOf(session), facts: { session: sessionName(session), reason } })
    .catch((error: unknown) => log.warn("event not recorded", { type, cause: String(error) }, type));
}

const ownerOf = ({ owner: actor, consumer, key }: Session) => ({ actor, consumer, key });
