import type { Input } from "../control/api.ts";
import type { Client } from "../control/contract.ts";
import { groupNames } from "../core/failure.ts";
import { UsageError } from "./errors.ts";
import { period } from "./when.ts";

/** Filters that `tail` and `audit log` share. */
export const filters = {
  consumer: { type: "string", valueHint: "ID", description: "only this consumer" },
  server: { type: "string", valueHint: "ID", description: "only this server" },
  tool: { type: "string", valueHint: "NAME", description: "only this tool; TOOL or SERVER:TOOL" },
  status: {
    type: "string",
    valueHint: "STATUS",
    description: `only this status, or one of the groups ${groupNames.join(", ")}`,
  },
  since: period.since,
} as const;

/** Returns the value of a filter; throws a `UsageError` if `wrong` gives a reason why no record can have that value. */
export function checked(
  flag: string,
  text: string | undefined,
  wrong: (text: string) => string | null,
): string | undefined {
  const reason = text === undefined ? null : wrong(text);
  if (reason !== null) throw new UsageError(`${flag}: ${reason}`);
  return text;
}

/** Names the first filter that no record at all matches, such as a mistyped one; null if each matches some record. */
export async function unheard(
  client: Client,
  { consumer, server, tool }: Pick<Input<"tail">, "consumer" | "server" | "tool">,
): Promise<string | null> {
  for (const [name, value] of Object.entries({ consumer, server, tool })) {
    if (value === undefined) continue;
    const { records, unread } = await client.call("audit.log", { [name]: value, limit: 1 });
    if (records.length === 0 && unread === undefined) return `no record so far has the ${name} ${value}`;
  }
  return null;
}
