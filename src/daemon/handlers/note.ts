import type { AuditBroker } from "../../audit/broker.ts";
import type { Context } from "../../control/api.ts";
import type { Audit, AuditEvent } from "../../core/ports.ts";

type Facts = AuditEvent["facts"];

/** Records an administrative act with who did it, as the kernel knows the peer. */
export type Note = (ctx: Context, type: AuditEvent["type"], facts: Facts) => Promise<void>;

export function noteWith(audit: Pick<Audit, "note">): Note {
  return (ctx, type, facts) => audit.note(actOf(ctx, type, facts));
}

/** Records an act that has taken effect; false when that has to wait until the log can be written again. */
export type NoteDone = (...act: Parameters<Note>) => Promise<boolean>;

export function noteDoneWith(audit: Pick<AuditBroker, "noteDone">): NoteDone {
  return (ctx, type, facts) => audit.noteDone(actOf(ctx, type, facts));
}

function actOf({ peer }: Context, type: AuditEvent["type"], facts: Facts): AuditEvent {
  return { type, actor: `local:${peer.uid}`, facts: { ...facts, uid: peer.uid, pid: peer.pid } };
}
