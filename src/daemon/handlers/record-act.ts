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

/** Who asks, as records name it. */
export const actorOf = ({ peer }: Context): string => `local:${peer.uid}`;

function actOf<T extends ActType>(ctx: Context, type: T, facts: Acts[T]): Act {
  const { uid, gid, pid, groups } = ctx.peer;
  // A right to act may come from any of them. Most processes have their own group among them.
  const more = groups.filter((group) => group !== gid);
  const asker = { uid, gid, pid, ...(more.length > 0 && { groups: more.join() }) };
  return { type, actor: actorOf(ctx), facts: { ...facts, ...asker } } as Act; // the parameters pair them
}
