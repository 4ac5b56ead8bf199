import type { Output, Parsed } from "../../control/api.ts";
import { groupUsage } from "../../usage/query.ts";
import type { Archive } from "../archive.ts";

/** Metering, summed per consumer, server, tool, day or hour; `metered` tells whether calls are counted. */
export async function usageBy(archive: Archive, input: Parsed<"usage">, metered: boolean): Promise<Output<"usage">> {
  return { metered, rows: groupUsage(await archive.usage(input), input.by) };
}
