import type { UsageRow } from "../core/store.ts";
import { nothing, type Sums, sumOf } from "./counters.ts";

/** Usage of one group. */
export type UsageGroup = { readonly name: string } & Sums;

const msPerHour = 3_600_000;

// The name of a row's group, for each value of `--by`.
const groupings = {
  consumer: ({ consumer }) => consumer,
  server: ({ server }) => server || "(none)",
  tool: ({ server, tool }) => (tool === "" ? "(none)" : server === "" ? tool : `${server}:${tool}`),
  day: ({ hour }) => new Date(hour * msPerHour).toISOString().slice(0, 10),
  hour: ({ hour }) => `${new Date(hour * msPerHour).toISOString().slice(0, 13)}:00Z`,
} as const satisfies Record<string, (row: UsageRow) => string>;

export type UsageBy = keyof typeof groupings;

/** Adds rows up by consumer, server, tool, day or hour (UTC); sorted by name for times, else by calls, most first. */
export function groupUsage(rows: readonly UsageRow[], by: UsageBy): UsageGroup[] {
  const groups = new Map<string, UsageGroup>();
  for (const row of rows) {
    const name = groupings[by](row);
    groups.set(name, { name, ...sumOf(groups.get(name) ?? nothing, row) });
  }
  const byName = (a: UsageGroup, b: UsageGroup): number => (a.name < b.name ? -1 : 1);
  const byCalls = (a: UsageGroup, b: UsageGroup): number => b.calls - a.calls || byName(a, b);
  return [...groups.values()].sort(by === "day" || by === "hour" ? byName : byCalls);
}
