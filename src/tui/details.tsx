import { Box, Text } from "ink";
import { useEffect, useState } from "react";
import { messageOf } from "../core/error-text.ts";
import { plain } from "../core/text.ts";
import { downUntil, factsIn, helpFor, recordRows, servedBy, serverFacts } from "../control/present.ts";
import type { AuditEntry } from "../control/schemas.ts";
import type { ServerStatus } from "../core/upstream.ts";
import type { Feed } from "./feed.ts";
import { useKeys } from "./keys.ts";
import { steps } from "./state.ts";

type Row = readonly [name: string, value: string];

const indentOf = (rows: readonly Row[]): number =>
  Math.min(18, Math.max(10, ...rows.map(([name]) => Bun.stringWidth(name) + 2)));

/** Makes text safe and splits it into lines of at most `width` columns. */
export function folded(text: string, width: number): string[] {
  const lines = [""];
  let used = 0;
  let before = "";
  for (const char of plain(text)) {
    // Some characters change the width of the character before.
    const wide = Bun.stringWidth(before + char) - Bun.stringWidth(before);
    before = char;
    if (used + wide > width) {
      lines.push("");
      used = 0;
    }
    lines.push(`${lines.pop() ?? ""}${char}`);
    used += wide;
  }
  return lines;
}

/** Splits rows into screen lines; only the first line of a value has the name. */
const linesOf = (rows: readonly Row[], width: number): Row[] =>
  rows.flatMap(([name, value]) =>
    folded(value, Math.max(8, width)).map((line, index): Row => [index === 0 ? plain(name) : "", line]),
  );

/** Loads everything known about a record. Throws if the log no longer has it. */
export async function load(feed: Pick<Feed, "ask">, { chain, seq, at }: AuditEntry): Promise<Row[]> {
  const { entry, rec, leaf, fault } = await feed.ask("audit.show", { chain, seq });
  if (entry.at !== at) throw new Error(`the log was replaced or rolled back: it has another record ${seq}`);
  const rows = recordRows({ ...factsIn(rec), leaf });
  return fault ? [["changed", fault], ...rows] : rows;
}

type Size = { readonly width: number; readonly height: number };
type Props = Size & { readonly feed: Feed; readonly entry: AuditEntry };

/** The details of one record. */
export function RecordScreen({ feed, entry, ...size }: Props) {
  const [rows, setRows] = useState<readonly Row[]>([]);
  const [trouble, setTrouble] = useState<string | null>(null);
  useEffect(() => {
    let current = true;
    load(feed, entry).then(
      (found) => current && setRows(found),
      (error) => current && setTrouble(messageOf(error)),
    );
    return () => {
      current = false;
    };
  }, [feed, entry]);
  return <Details {...size} title={`Record ${entry.chain}/${entry.seq}`} trouble={trouble} rows={rows} />;
}

/** The current details of one server; `server` is null if it no longer exists. */
export function ServerScreen({ id, server, ...size }: Size & { id: string; server: ServerStatus | null }) {
  const down = server?.down.map((one): Row => ["down", `${servedBy(one)}, until ${downUntil(one)}: ${one.reason}`]);
  const help = server && helpFor(server);
  const rows = server
    ? [...serverFacts(server), ...(down ?? []), ...(help === null ? [] : [["help", help] as const])]
    : [];
  const trouble = server ? null : "this server is no longer configured";
  return <Details {...size} title={`Server ${id}`} trouble={trouble} rows={rows} />;
}

type Shown = Size & { readonly title: string; readonly trouble: string | null; readonly rows: readonly Row[] };

/** A scrollable list of names and values of any length. Makes untrusted text safe. */
function Details({ title, trouble, rows, width, height }: Shown) {
  const [offset, setOffset] = useState(0);
  const indent = indentOf(rows);
  const lines = linesOf(rows, width - indent);
  const last = Math.max(0, lines.length - (height - 1));
  const within = (line: number) => Math.max(0, Math.min(line, last));
  const at = within(offset);
  useKeys((key) => setOffset((now) => within(within(now) + (steps.get(key) ?? 0))));
  return (
    <Box flexDirection="column" height={height}>
      <Text bold>{plain(title)}</Text>
      {trouble === null ? null : <Text color="red">{plain(trouble)}</Text>}
      {trouble === null && rows.length === 0 ? <Text dimColor>asking the daemon…</Text> : null}
      {lines.slice(at, at + height - 1).map(([name, value], index) => (
        <Box key={at + index} height={1}>
          <Box width={indent} flexShrink={0}>
            <Text dimColor wrap="truncate">
              {name}
            </Text>
          </Box>
          <Text wrap="truncate">{value}</Text>
        </Box>
      ))}
    </Box>
  );
}
