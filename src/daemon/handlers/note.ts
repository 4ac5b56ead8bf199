import type { AuditBroker } from "../../audit/broker.ts";
import type { Context, Note } from "../../control/api.ts";
import type { Act, Acts, ActType } from "../../core/event.ts";
import type { Audit } from "../../core/ports.ts";

export function noteWith(audit: Pick<Audit, "note">): Note {
  return (ctx, type, facts) => audit.note(actOf(ctx, type, facts));
}

/** Records an act that has taken effect; false when that has to wait until the log can be written again. */
export type NoteDone = <T extends ActType>(ctx: Context, type: T, facts: Acts[T]) => Promise<boolean>;

export function noteDoneWith(audit: Pick<AuditBroker, "noteDone">): NoteDone {
  return (ctx, type, facts) => audit.noteDone(actOf(ctx, type, facts));
}

function actOf<T extends ActType>({ peer }: Context, type: T, facts: Acts[T]): Act {
  return { type, actor: `local:${peer.uid}`, facts: { ...facts, uid: peer.uid, pid: peer.pid } } as Act; // the parameters pair them
}
