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

/** Names the first of these filters that no record at all passes, such as one with a slip of the pen; null: none. */
export async function unheard(
  client: Client,
  { consumer, server, tool }: Pick<Input<"tail">, "consumer" | "server" | "tool">,
): Promise<string | null> {
  for (const [name, value] of Object.entries({ consumer, server, tool })) {
    if (value === undefined) continue;
    const { records, unread } = await client.call("audit.log", { [name]: value, limit: 1 });
    if (records.length === 0 && unread === undefined) return `no record so far is of ${name} ${value}`;
  }
  return null;
}
