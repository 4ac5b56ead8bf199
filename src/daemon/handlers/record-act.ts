import type { AuditBroker } from "../../audit/broker.ts";
import type { Context, RecordAct } from "../../control/contract.ts";
import type { Act, Acts, ActType } from "../../core/event.ts";
import type { Audit } from "../../core/ports.ts";

/** Records what an operator is about to do, with the process that asks for it; rejects where the log takes no records. */
export function recordActWith(audit: Pick<Audit, "recordEvent">): RecordAct {
  return (ctx, type, facts) => audit.recordEvent(actOf(ctx, type, facts));
}

/** Records an act that has taken effect; false when that has to wait until the log can be written again. */
export type RecordDone = <T extends ActType>(ctx: Context, type: T, facts: Acts[T]) => Promise<boolean>;

/** Records what an operator has done, with the process that asked for it. */
export function recordDoneWith(audit: Pick<AuditBroker, "recordDone">): RecordDone {
  return (ctx, type, facts) => audit.recordDone(actOf(ctx, type, facts));
}

function actOf<T extends ActType>({ peer }: Context, type: T, facts: Acts[T]): Act {
  return { type, actor: `local:${peer.uid}`, facts: { ...facts, uid: peer.uid, pid: peer.pid } } as Act; // the parameters pair them
}
