import { groupId, groupsHere } from "../control/peer.ts";
import { type Config, usualGroups } from "../config/schema.ts";

/** Says which groups of operators are not there though the file names them; a machine need not have the usual ones. */
export function withoutGroup({ control }: Pick<Config, "control">): string[] {
  const groups = groupsHere();
  return (["adminGroup", "readGroup"] as const)
    .filter((option) => control[option] !== usualGroups[option] && groupId(control[option], groups) === null)
    .map(
      (option) =>
        `control.${option}: /etc/group has no group ${control[option]}, so nobody has rights by it; make it and restart, or give a number`,
    );
}
