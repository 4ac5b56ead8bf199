import { groupId, groupsHere } from "../control/peer.ts";
import { type Config, defaultGroups } from "../config/schema.ts";

/** Returns a warning for each configured control group that does not exist. The default groups may be missing. */
export function missingGroupWarnings({ control }: Pick<Config, "control">): string[] {
  const groups = groupsHere();
  return (["adminGroup", "readGroup"] as const)
    .filter((option) => control[option] !== defaultGroups[option] && groupId(control[option], groups) === null)
    .map(
      (option) =>
        `control.${option}: /etc/group has no group ${control[option]}, so it grants no rights; create it and restart, or give a number`,
    );
}
