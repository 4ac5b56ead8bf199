import { sessionName } from "../audit/session-name.ts";
import type { Inbound } from "../core/inbound.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Session } from "../session/session.ts";
import type { SessionEnd } from "../session/sessions.ts";

/** Records the opening of a session; resolves once the record is committed. */
export function noteOpened({ audit }: Gateway, session: Session, { client }: Inbound): Promise<void> {
  const facts = { session: sessionName(session), client: client?.name ?? null, revision: session.revision };
  return audit.recordEvent({ type: "session.open", ...ownerOf(session), facts });
}

/** Stops the instances that were started for a session that has ended, and records the end. */
export function finishSession({ audit, upstreams, log }: Gateway, session: Session, reason: SessionEnd): void {
  upstreams.endSession(session.id);
  audit
    .recordEvent({ type: "session.close", ...ownerOf(session), facts: { session: sessionName(session), reason } })
    .catch((error: unknown) => log.warn("event not recorded", { cause: String(error) }));
}

const ownerOf = ({ owner: actor, consumer, key }: Session) => ({ actor, consumer, key });
