import { isDeepStrictEqual } from "node:util";
import type { Loaded } from "../config/load.ts";
import { ConfigError } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { valueAt } from "../core/finding.ts";

const fixed = [["listen"], ["state"], ["control"], ["audit", "path"], ["usage", "enabled"]] as const;

/** Throws for a change that a running daemon cannot make: what it listens on and where it keeps things. */
export function refuseFixedChange(before: Config, next: Loaded): void {
  const changed = fixed.filter((path) => !isDeepStrictEqual(valueAt(before, path), valueAt(next.config, path)));
  if (changed.length === 0) return;
  const message = "needs restart: the daemon cannot change it while it runs";
  throw new ConfigError(changed.map((path) => next.locate({ path, key: true, message })));
}
