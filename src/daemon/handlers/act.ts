import type { Context } from "../../control/contract.ts";
import type { Act, Acts, ActType, Asker } from "../../core/event.ts";
import { cut } from "../../core/text.ts";

/** Who asks, as records name it. */
export const actorOf = ({ peer }: Context): string => `local:${peer.uid}`;

/** What an operator does, as it is recorded: with the process that asks for it. */
export function actOf<T extends ActType>(ctx: Context, type: T, facts: Acts[T]): Act {
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
