import { command, group } from "../command.ts";
import { exit, UsageError } from "../errors.ts";
import { checked, filters, unheard } from "../filters.ts";
import { type Cell, type Output, right } from "../output.ts";
import { maxAnswerItems, wrongStatus, wrongRecordType } from "../../control/filters.ts";
import { line, number } from "../../control/format.ts";
import { factsIn, recordRows } from "../../control/present.ts";
import { cells } from "../record-cells.ts";
import { period, timeRange, wholeNumber } from "../when.ts";
import { exportRecords } from "./audit-export.ts";
import { verify } from "./audit-verify.ts";

const log = command({
  summary: "Show audit records, newest last",
  args: {
    ...filters,
    until: period.until,
    type: { type: "string", valueHint: "TYPE", description: "only this type, for example call.end" },
    limit: { type: "string", valueHint: "N", description: "show the newest N; default 50" },
  },
  async run(args, { out, open }) {
    const { consumer, server, tool } = args;
    const input = {
      consumer,
      server,
      tool,
      type: checked("--type", args.type, wrongRecordType),
      status: checked("--status", args.status, wrongStatus),
      ...timeRange(args.since, args.until),
      limit: wholeNumber("--limit", args.limit, 1, maxAnswerItems),
    };
    const client = await open({ offline: true });
    const { records, more, unread } = await client.call("audit.log", input);
    const code = warnUnreadChains(unread, out);
    const oldestFirst = records.toReversed();
    if (records.length === 0) out.say((await unheard(client, input)) ?? "no record matches");
    if (more) out.say(`only the newest ${number(records.length)} are shown; use --limit or --until to see older ones`);
    if (out.json) {
      await out.document({ records: oldestFirst, more, unread });
      return code;
    }
    const rows = oldestFirst.map((entry) => [right(`${entry.chain}/${entry.seq}`), ...cells(entry, true)]);
    await out.table(["RECORD", "TIME", "CONSUMER", "TOOL", "STATUS", "TOOK", "WHY"], rows);
    if (input.type === undefined && records.some(({ type }) => type === "call.end")) {
      out.say("begin and checkpoint records are left out; --type call.begin or --type checkpoint shows them");
    }
    return code;
  },
});

/** Warns about chains with missing records; returns the exit code. */
function warnUnreadChains(unread: readonly string[] = [], out: Output): number {
  for (const chain of unread)
    out.warn(
      `chain ${chain} cannot be read completely, so some of its records are missing here; if this persists, \`mcpgw audit verify\` shows why`,
    );
  return unread.length > 0 ? exit.failed : exit.done;
}

/** Parses `12` or `chain/12`. */
function recordId(text: string): { chain: string | undefined; seq: number } {
  const match = /^(?:([A-Za-z0-9-]+)\/)?([1-9]\d{0,14})$/.exec(text);
  if (!match) throw new UsageError(`"${text}" is not a record; write its number, or CHAIN/NUMBER`);
  return { chain: match[1], seq: Number(match[2]) };
}

const show = command({
  summary: "Show one audit record in full",
  args: {
    record: { type: "positional", required: true, description: "the record number, or CHAIN/NUMBER" },
    payloads: {
      type: "boolean",
      description: "include arguments, result and client address; administrators only, and the access is recorded",
    },
  },
  async run({ record, payloads }, { out, open }) {
    const input = { ...recordId(record), payloads };
    const client = await open({ offline: true });
    const answer = await client.call("audit.show", input);
    const facts = factsIn(answer.rec);
    const begin = answer.begin && { ...answer.begin, rec: factsIn(answer.begin.rec) };
    for (const { seq, fault } of [{ seq: answer.entry.seq, fault: answer.fault }, ...(begin ? [begin] : [])])
      if (fault)
        out.warn(`record ${seq} is not as it was recorded: ${fault}; \`mcpgw audit verify\` checks the whole log`);
    if (out.json) return out.document({ ...answer, rec: facts, begin });
    const address = answer.source && { address: answer.source.address ?? forgotten };
    await out.facts(recordRows({ ...facts, leaf: answer.leaf, ...(begin ? {} : address) }));
    if (begin) {
      // Members that both records have in common are shown once.
      const more = Object.entries(begin.rec).filter(([name, value]) => !Bun.deepEquals(value, facts[name]));
      await out.print(`\n${out.paint("dim", `began with record ${begin.seq}`)}`);
      await out.facts(recordRows({ ...Object.fromEntries(more), ...address }));
    }
    for (const { rec, payloads: parts } of [...(begin ? [begin] : []), { ...answer, rec: facts }])
      for (const { part, body } of parts ?? [])
        await out.print(`\n${out.paint("dim", `${part}${lack(rec, part)}`)}\n${line(body)}`);
  },
});

/** Returns a note for a payload that was cut when it was stored, since its end does not show that. */
function lack(rec: Readonly<Record<string, unknown>>, part: "args" | "result"): string {
  const [cut, length] = part === "args" ? ([rec["acut"], rec["al"]] as const) : ([rec["rcut"], rec["rl"]] as const);
  return cut === true ? `, only the first part of ${number(Number(length))} bytes was stored` : "";
}

const forgotten = "not known: erased, changed since, or not stored because there were too many at once";

const count = (value: number): Cell => right(number(value));

const stats = command({
  summary: "Count audit records by type, and calls by status, consumer, server and tool",
  args: period,
  async run(args, { out, open }) {
    const range = timeRange(args.since, args.until);
    const client = await open({ offline: true });
    const answer = await client.call("audit.stats", range);
    const code = warnUnreadChains(answer.unread, out);
    const none = answer.chains.every(({ records }) => records === 0);
    if (none) out.say((range.since ?? range.until) ? "no records in that time range" : "no records so far");
    if (out.json) await out.document(answer);
    if (none || out.json) return code;
    await out.table(
      ["CHAIN", "RECORDS"],
      answer.chains.map(({ chain, records }) => [chain, count(records)]),
    );
    // One record may stand for many calls.
    for (const [heading, unit, counts] of [
      ["TYPE", "RECORDS", answer.byType],
      ["STATUS", "CALLS", answer.byStatus],
    ] as const) {
      const rows = Object.entries(counts).toSorted((a, b) => b[1] - a[1]);
      await out.section(
        [heading, unit],
        rows.map(([name, value]) => [name, count(value)]),
      );
    }
    const tallies = { CONSUMER: answer.consumers, SERVER: answer.servers, TOOL: answer.tools };
    for (const [heading, rows] of Object.entries(tallies)) {
      await out.section(
        [heading, "CALLS", "ERRORS", "DENIED"],
        rows.map(({ name, calls, errors, denied }) => [name, count(calls), count(errors), count(denied)]),
      );
    }
    return code;
  },
});

export const audit = group("Query, verify and export the audit log", {
  log,
  show,
  stats,
  verify,
  export: exportRecords,
});
