import type { Output, Parsed } from "../../control/api.ts";
import { groupUsage } from "../../usage/query.ts";
import type { Archive } from "../archive.ts";

/** Metering, summed per consumer, server, tool, day or hour. */
export async function usageBy(archive: Archive, input: Parsed<"usage">): Promise<Output<"usage">> {
  return { rows: groupUsage(await archive.usage(input), input.by) };
}
