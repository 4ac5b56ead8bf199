import type { Output, Parsed } from "../../control/api.ts";
import { hoursOf, hourUs } from "../../core/store.ts";
import { timeText } from "../../core/time-text.ts";
import { groupUsage } from "../../usage/query.ts";
import type { Archive } from "../archive.ts";

/** Metering, summed per consumer, server, tool, day or hour; `metered` tells whether calls are counted. */
export async function usageBy(archive: Archive, input: Parsed<"usage">, metered: boolean): Promise<Output<"usage">> {
  const { rows, cutShort } = await archive.usage(input);
  const partly = cutShort.length > 0 ? { cutShort } : {};
  return { metered, ...wholeHours(input), ...partly, rows: groupUsage(rows, input.by) };
}

/** Says which hours are counted where the times asked for are finer. */
function wholeHours({ since, until }: Parsed<"usage">): Pick<Output<"usage">, "hours"> {
  const [first, end] = hoursOf({ since, until });
  const isWhole = (at: number | undefined): boolean => at === undefined || at % hourUs === 0;
  if (isWhole(since) && isWhole(until)) return {};
  const text = (at: number | undefined, hour: number) =>
    at === undefined ? null : `${timeText(hour * hourUs).slice(0, 16)}Z`;
  return { hours: { since: text(since, first), until: text(until, end) } };
}
