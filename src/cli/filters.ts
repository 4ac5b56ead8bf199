import { groupNames } from "../core/failure.ts";
import { UsageError } from "./errors.ts";
import { period } from "./when.ts";

/** Filters that `tail` and `audit log` share. */
export const filters = {
  consumer: { type: "string", valueHint: "ID", description: "only this consumer" },
  server: { type: "string", valueHint: "ID", description: "only this server" },
  tool: { type: "string", valueHint: "NAME", description: "only this tool" },
  status: { type: "string", valueHint: "STATUS", description: `only this status, or one of ${groupNames.join(", ")}` },
  since: period.since,
} as const;

/** Returns the value of a filter; one of which `wrong` says why no record has it is a usage error. */
export function checked(
  flag: string,
  text: string | undefined,
  wrong: (text: string) => string | null,
): string | undefined {
  const reason = text === undefined ? null : wrong(text);
  if (reason !== null) throw new UsageError(`${flag}: ${reason}`);
  return text;
}
