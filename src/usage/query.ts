import { hourUs, type UsageKey, type UsageRow } from "../core/store.ts";
import { timeText } from "../core/time-text.ts";
import { nothing, type Sums, sumOf } from "./counters.ts";

export type UsageGroup = { readonly name: string } & Sums;

/** The tags of each configured server; an empty list means that it is untagged. */
export type Tags = ReadonlyMap<string, readonly string[]>;

// The names of a row's groups, for each value of `--by`.
const groupings = {
  consumer: ({ consumer }) => [consumer || "(none)"],
  server: ({ server }) => [server || "(none)"],
  tool: ({ server, tool }) => [tool === "" ? "(none)" : server === "" ? tool : `${server}:${tool}`],
  tag: ({ server }, tags) => {
    if (server === "") return ["(none)"];
    const own = tags.get(server) ?? ["(not configured)"];
    return own.length > 0 ? own : ["(untagged)"];
  },
  day: ({ hour }) => [timeText(hour * hourUs).slice(0, 10)],
  hour: ({ hour }) => [`${timeText(hour * hourUs).slice(0, 16)}Z`],
} as const satisfies Record<string, (row: UsageRow, tags: Tags) => readonly string[]>;

export type UsageBy = keyof typeof groupings;

/** The keys that rows need for each grouping; groups that name servers also need the tools, which may be hidden. */
export const apartFor: Readonly<Record<UsageBy, readonly UsageKey[]>> = {
  consumer: ["consumer"],
  server: ["server", "tool"],
  tool: ["server", "tool"],
  tag: ["server", "tool"],
  day: ["hour"],
  hour: ["hour"],
};

/**
 * Adds up rows by consumer, server, tool, tag of the server, day or hour (UTC). Times are sorted by name, other groups
 * by calls in descending order. A row of a server with several tags counts in the group of each tag.
 */
export function groupUsage(rows: readonly UsageRow[], by: UsageBy, tags: Tags = new Map()): UsageGroup[] {
  const groups = new Map<string, UsageGroup>();
  const count = (name: string, row: UsageRow): void =>
    void groups.set(name, { name, ...sumOf(groups.get(name) ?? nothing, row) });
  for (const row of rows) for (const name of groupings[by](row, tags)) count(name, row);
  const byName = (a: UsageGroup, b: UsageGroup): number => (a.name < b.name ? -1 : 1);
  const byCalls = (a: UsageGroup, b: UsageGroup): number => b.calls - a.calls || byName(a, b);
  return [...groups.values()].sort(by === "day" || by === "hour" ? byName : byCalls);
}
