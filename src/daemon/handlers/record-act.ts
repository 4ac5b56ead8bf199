import type { AuditBroker } from "../../audit/broker.ts";
import type { Context, RecordAct } from "../../control/contract.ts";
import type { Act, Acts, ActType, Asker } from "../../core/event.ts";
import type { Audit } from "../../core/ports.ts";
import { cut } from "../../core/text.ts";

/**
 * Records what an operator is about to do, with the process that asks for it; rejects where the log takes no records.
 */
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
  return { type, actor: actorOf(ctx), facts: { ...facts, ...askerOf(ctx) } } as Act; // the parameters pair them
}

/** Characters of the groups in a record, which keeps 500 of a fact. */
const longestGroups = 480;

/** The process that asks. Of very many groups the first stand there, each whole, and how many there are. */
export function askerOf({ peer: { uid, gid, pid, groups } }: Context): Asker {
  // A right to act may come from any of them. Most processes have their own group among them.
  const more = groups.filter((group) => group !== gid);
  const text = cut(more.join(), longestGroups).replace(/\d*…$/, `… of ${more.length}`);
  return { uid, gid, pid, ...(more.length > 0 && { groups: text }) };
}
