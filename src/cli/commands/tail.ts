import type { Input } from "../../control/api.ts";
import type { Client } from "../../control/contract.ts";
import { wrongStatus } from "../../control/filters.ts";
import { Refusal } from "../../control/refusal.ts";
import type { AuditEntry } from "../../control/schemas.ts";
import { command } from "../command.ts";
import { checked, filters, unheard } from "../filters.ts";
import { keepFollowing, missed } from "../keep-following.ts";
import { aligned, type Output, right, widthsOf } from "../output.ts";
import { cells } from "../record-cells.ts";
import { pastTime } from "../when.ts";
import { timeText } from "../../core/time-text.ts";

// The widest cell of a stream is not known in advance, so columns start at typical widths and grow.
const start = [8, 12, 12, 19, 12, 8];

/** Returns a function that prints records one by one, in columns that widen as needed. */
export function follower(out: Output): (entry: AuditEntry) => Promise<void> {
  let widths = start;
  return async (entry) => {
    const row = [right(`${entry.chain}/${entry.seq}`), ...cells(entry, false)];
    widths = widthsOf([row]).map((width, index) => Math.min(48, Math.max(widths[index] ?? 0, width)));
    await out.print(aligned(row, widths, out.paint));
  };
}

/** Returns a function that prints the selected records; on a new connection it continues after the last one printed. */
function reader({ since, ...filter }: Input<"tail">, out: Output): (client: Client) => Promise<void> {
  const show = follower(out);
  const began = timeText(Date.now() * 1_000);
  let last: AuditEntry | null = null;
  return async (client) => {
    if (last && !(await holds(client, last))) {
      const found = `the log was replaced or restored from an older copy: record ${last.seq} is missing or different`;
      out.say(`mcpgw: ${found}; continuing with the records since then`, "yellow");
      since = timeText(last.at + 1);
      last = null;
    }
    const from = last ? { after: last.seq } : { since };
    since ??= began;
    for await (const value of client.stream("tail", { ...filter, ...from })) {
      if (out.json) await out.object(value);
      else if ("gap" in value) out.say(missed(value.gap, "records"), "yellow");
      else await show(value);
      if ("seq" in value) last = value;
    }
  };
}

/** Reports whether the log still has a record; a log that was replaced or restored from an older copy does not. */
async function holds(client: Client, { chain, seq, at }: AuditEntry): Promise<boolean> {
  try {
    const { entry } = await client.call("audit.show", { chain, seq });
    return entry.at === at;
  } catch (error) {
    if (error instanceof Refusal && error.code === "not-found") return false;
    throw error;
  }
}

export const tail = command({
  summary: "Follow calls and other audit records as they happen",
  args: filters,
  async run({ consumer, server, tool, status, since }, { out, open }) {
    const selection = {
      consumer,
      server,
      tool,
      status: checked("--status", status, wrongStatus),
      since: pastTime("--since", since),
    };
    const read = reader(selection, out);
    const hint = async (client: Client): Promise<void> => {
      // An error here also ends the stream, which reports it.
      const text = await unheard(client, selection).catch(() => null);
      if (text !== null) out.say(text);
      else if (out.terminal) out.say("following the audit log; press Ctrl-C to stop");
    };
    let hinted: Promise<void> | null = null;
    await keepFollowing({ out, open }, async (client) => {
      // Runs alongside the stream, so that no record waits for it.
      hinted ??= hint(client);
      await read(client);
      await hinted;
    });
  },
});
