import { type Finding, type Path, valueAt } from "../core/finding.ts";
import type { Config } from "./schema.ts";

/** The options that are durations, in milliseconds; a bare number in the file is in seconds. */
export const durations: ReadonlySet<string> = new Set([
  "timeout",
  "maxTimeout",
  "idleStop",
  "healthCheck",
  "refresh",
  "interval",
]);

const hour = 3_600;

/** Warns about long durations without a unit, which mean milliseconds in the files of many other programs. */
export function bareDurations({ servers }: Pick<Config, "servers">, given: unknown): Finding[] {
  const around: Path[] = [...servers.keys().map((index) => ["servers", index]), ["audit", "checkpointEvery"]];
  const paths = around.flatMap((at) => [...durations].map((option) => [...at, option]));
  return paths.flatMap((path): Finding[] => {
    const time = valueAt(given, path);
    if (typeof time !== "number" || time <= hour) return [];
    const hours = Math.floor(time / hour);
    return [
      {
        path,
        message: `is ${hours} h or more, since a number without a unit is in seconds; write ${time}ms or ${time}s`,
      },
    ];
  });
}
