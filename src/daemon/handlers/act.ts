import type { Context } from "../../control/contract.ts";
import type { Act, Acts, ActType, Asker } from "../../core/event.ts";
import { cut } from "../../core/text.ts";

/** Returns the operator who asks, as audit records name it. */
export const actorOf = ({ peer }: Context): string => `local:${peer.uid}`;

/** Returns an operator's act as it is recorded, with the process that requested it. */
export function actOf<T extends ActType>(ctx: Context, type: T, facts: Acts[T]): Act {
  return { type, actor: actorOf(ctx), facts: { ...facts, ...askerOf(ctx) } } as Act; // the parameters pair them
}

/** Maximum length of the group list in a record, which keeps 500 characters of a fact. */
const maxGroupsLength = 480;

/** Returns the requesting process. A long group list is cut after a whole group id, and its total count is added. */
export function askerOf({ peer: { uid, gid, pid, groups } }: Context): Asker {
  // Any group may grant rights. Most processes list their primary group here too.
  const more = groups.filter((group) => group !== gid);
  const text = cut(more.join(), maxGroupsLength).replace(/\d*…$/, `… of ${more.length}`);
  return { uid, gid, pid, ...(more.length > 0 && { groups: text }) };
}
