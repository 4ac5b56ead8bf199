import { isDeepStrictEqual } from "node:util";
import type { Loaded } from "../config/load.ts";
import { ConfigError } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { valueAt } from "../core/finding.ts";

const fixed = [["listen"], ["state"], ["control"], ["audit", "path"], ["usage", "enabled"]] as const;

/** Throws if an option changed that a running daemon cannot change, such as its listeners or its directories. */
export function refuseFixedChange(before: Config, next: Loaded): void {
  const changed = fixed.filter((path) => !isDeepStrictEqual(valueAt(before, path), valueAt(next.config, path)));
  if (changed.length === 0) return;
  const message = "needs restart: the daemon cannot change it while it runs";
  throw new ConfigError(changed.map((path) => next.locate({ path, key: true, message })));
}
