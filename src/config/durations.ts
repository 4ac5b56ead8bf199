import { type Finding, type Path, valueAt } from "../core/finding.ts";
import type { Config } from "./schema.ts";

/** The options that are durations: the program counts in milliseconds, but a bare number in the file counts seconds. */
export const durations: ReadonlySet<string> = new Set([
  "timeout",
  "maxTimeout",
  "idleStop",
  "healthCheck",
  "refresh",
  "interval",
]);

const hour = 3_600;

/** Doubts about long durations without a unit: in the files of many other programs that means milliseconds. */
export function bareDurations({ servers }: Pick<Config, "servers">, given: unknown): Finding[] {
  const around: Path[] = [...servers.keys().map((index) => ["servers", index]), ["audit", "checkpointEvery"]];
  const paths = around.flatMap((at) => [...durations].map((option) => [...at, option]));
  return paths.flatMap((path): Finding[] => {
    const time = valueAt(given, path);
    if (typeof time !== "number" || time <= hour) return [];
    const hours = Math.floor(time / hour);
    return [{ path, message: `is ${hours} h or more: without a unit it is in seconds; write ${time}ms or ${time}s` }];
  });
}
