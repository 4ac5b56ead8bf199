import type { AuditEntry } from "../../control/schemas.ts";
import { wrongStatus } from "../../control/filters.ts";
import { command } from "../command.ts";
import { cells } from "../entries.ts";
import { UsageError } from "../errors.ts";
import { aligned, type Output, widthsOf } from "../output.ts";
import { number } from "../../control/format.ts";
import { pastTime } from "../when.ts";
import { groupNames } from "../../core/failure.ts";

/** Filters that `tail` and `audit log` share. */
export const filters = {
  consumer: { type: "string", valueHint: "ID", description: "only this consumer" },
  server: { type: "string", valueHint: "ID", description: "only this server" },
  tool: { type: "string", valueHint: "NAME", description: "only this tool" },
  status: { type: "string", valueHint: "STATUS", description: `only this status, or one of ${groupNames.join(", ")}` },
  since: { type: "string", valueHint: "TIME", description: "from here on: 30m, 2h, 7d ago or an ISO time" },
} as const;

/** Returns a known status or group of statuses; anything else is a usage error. */
export function knownStatus(text: string | undefined): string | undefined {
  const wrong = text === undefined ? null : wrongStatus(text);
  if (wrong === null) return text;
  throw new UsageError(`--status: ${wrong}`);
}

// The widest cell of a stream is not known in advance: columns start at usual widths and grow.
const start = [12, 12, 24, 12, 8];

/** Prints records one by one, aligned as well as a stream can be. */
export function follower(out: Output): (entry: AuditEntry) => Promise<void> {
  let widths = start;
  return async (entry) => {
    const row = cells(entry, false);
    widths = widthsOf([row]).map((width, index) => Math.min(48, Math.max(widths[index] ?? 0, width)));
    await out.print(aligned(row, widths, out.paint));
  };
}

export const tail = command({
  name: "tail",
  summary: "Follow calls and other audit records as they happen",
  args: filters,
  async run({ consumer, server, tool, status, since }, { out, open }) {
    const selection = { consumer, server, tool, status: knownStatus(status), since: pastTime("--since", since) };
    const client = await open();
    const show = follower(out);
    for await (const value of client.stream("tail", selection)) {
      if ("gap" in value) {
        if (out.json) await out.object(value);
        else out.say(`… ${number(value.gap)} records missed: this reader is too slow`, "yellow");
      } else if (out.json) await out.object(value);
      else await show(value);
    }
  },
});
