import type { Answer } from "../../control/api.ts";
import { command } from "../command.ts";
import { exit, UsageError } from "../errors.ts";
import { unheard } from "../filters.ts";
import type { UsageLine } from "../../control/schemas.ts";
import { usageGroupings } from "../../control/filters.ts";
import { bytes, latency, line, number } from "../../control/format.ts";
import { right } from "../output.ts";
import { period, timeRange } from "../when.ts";

const columns = ["name", "calls", "errors", "denied", "latencySumUs", "bytesIn", "bytesOut"] as const;

/** Returns a CSV cell (RFC 4180). A leading character that would start a formula in a spreadsheet is escaped. */
function csvCell(value: string | number): string {
  const text = typeof value === "string" && /^[=+\-@\t]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const csv = (rows: readonly UsageLine[]): string[] => [
  columns.join(","),
  ...rows.map((row) => columns.map((name) => csvCell(row[name])).join(",")),
];

const counted = ({ since, until }: NonNullable<Answer<"usage">["hours"]>): string =>
  `usage is counted by the hour; these counts are${since ? ` from ${since}` : ""}${until ? ` until ${until}` : ""}`;

const cut = ({ chain, upto }: NonNullable<Answer<"usage">["cutShort"]>[number]): string =>
  `chain ${chain} cannot be read beyond record ${upto}, so later records are not counted; if this persists, \`mcpgw audit verify\` shows why`;

export const usage = command({
  summary: "Show calls, errors, denials, mean latency, and bytes of arguments (IN) and results (OUT)",
  args: {
    consumer: { type: "positional", required: false, description: "only this consumer" },
    by: {
      type: "enum",
      options: [...usageGroupings],
      description:
        "what to group by; a tag includes the servers that have it now; (unknown) is for names that no server offers, (none) for no known caller or server",
    },
    ...period,
    csv: { type: "boolean", description: "print CSV" },
  },
  async run({ consumer, by, since, until, ...rest }, { out, open }) {
    if (out.json && rest.csv) throw new UsageError("--csv and --json are mutually exclusive; use only one");
    const range = timeRange(since, until);
    const client = await open({ offline: true });
    const answer = await client.call("usage", { consumer, by, ...range });
    if (!answer.metered)
      out.say("metering is off (usage.enabled): calls are not counted now, and those shown were counted before");
    if (answer.hours) out.say(counted(answer.hours));
    const { cutShort = [] } = answer;
    for (const chain of cutShort) out.warn(cut(chain));
    const code = cutShort.length > 0 ? exit.failed : exit.done;
    if (answer.overlap)
      out.say(
        "the calls of a server with several tags count in the row of each tag, so the rows add up to more than the total",
      );
    if (answer.rows.length === 0) out.say((await unheard(client, { consumer })) ?? "no call matches");
    if (out.json) {
      await out.document(answer);
      return code;
    }
    if (rest.csv) {
      // A file gets the names unchanged, but a terminal would interpret control characters in them.
      await out.print((out.terminal ? csv(answer.rows).map(line) : csv(answer.rows)).join("\n"));
      return code;
    }
    const rows = answer.rows.map((row) => [
      row.name,
      right(number(row.calls)),
      right(number(row.errors)),
      right(number(row.denied)),
      right(row.calls === 0 ? "-" : latency(Math.round(row.latencySumUs / row.calls))),
      right(bytes(row.bytesIn)),
      right(bytes(row.bytesOut)),
    ]);
    const heading = by === "day" ? "DAY (UTC)" : (by ?? "consumer").toUpperCase();
    await out.table([heading, "CALLS", "ERRORS", "DENIED", "MEAN", "IN", "OUT"], rows);
    return code;
  },
});
