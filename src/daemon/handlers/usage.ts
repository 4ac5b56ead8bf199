import type { Config } from "../../config/schema.ts";
import type { Answer, Parsed } from "../../control/api.ts";
import { ownServer } from "../../core/name.ts";
import { hoursOf, hourUs } from "../../core/store.ts";
import { timeText } from "../../core/time-text.ts";
import { apartFor, groupUsage, type Tags } from "../../usage/query.ts";
import type { Archive } from "../archive.ts";
import { createTurnQueue } from "./one-at-a-time.ts";

/** The part of the configuration that usage needs. */
export type Metering = {
  readonly metered: boolean;
  /** Returns the tags of the servers. Throws if they are unknown. */
  readonly tags: () => Tags;
};

/** Returns the part of a configuration that usage needs. */
export const meteringOf = ({ usage, servers }: Pick<Config, "usage" | "servers">): Metering => ({
  metered: usage.enabled,
  tags: () => tagsOf(servers),
});

/** Returns the configured tags by server, including the gateway itself, which has none. */
export const tagsOf = (servers: readonly Pick<Config["servers"][number], "id" | "tags">[]): Tags =>
  new Map([[ownServer, []], ...servers.map(({ id, tags }) => [id, [...new Set(tags)]] as const)]);

/** Queue for sums. The housekeeper adds up everything ever counted, and its other requests wait. */
export const queueUsage = createTurnQueue();

/** Returns usage summed by consumer, server, tool, tag, day or hour. */
export async function usageBy(
  archive: Pick<Archive, "usage">,
  input: Parsed<"usage">,
  { metered, tags }: Metering,
): Promise<Answer<"usage">> {
  const labels: Tags = input.by === "tag" ? tags() : new Map();
  const { rows, cutShort } = await archive.usage({ ...input, apart: apartFor[input.by] });
  const partly = cutShort.length > 0 ? { cutShort } : {};
  const isTwice = rows.some(({ server }) => (labels.get(server)?.length ?? 0) > 1);
  const overlap = isTwice ? { overlap: true } : {};
  return { metered, ...wholeHours(input), ...partly, ...overlap, rows: groupUsage(rows, input.by, labels) };
}

/** Returns which whole hours are counted, if the requested times are not on the hour. */
function wholeHours({ since, until }: Parsed<"usage">): Pick<Answer<"usage">, "hours"> {
  const [first, end] = hoursOf({ since, until });
  const isWhole = (at: number | undefined): boolean => at === undefined || at % hourUs === 0;
  if (isWhole(since) && isWhole(until)) return {};
  const text = (at: number | undefined, hour: number) =>
    at === undefined ? null : `${timeText(hour * hourUs).slice(0, 16)}Z`;
  return { hours: { since: text(since, first), until: text(until, end) } };
}
