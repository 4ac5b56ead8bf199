import { isDeepStrictEqual } from "node:util";
import { ConfigError, unplaced } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";

const fixed = ["listen", "state", "control"] as const;

/** Throws for a change that a running daemon cannot make: what it listens on and where it keeps things. */
export function refuseFixedChange(before: Config, next: Config, file: string): void {
  const changed: string[] = fixed.filter((key) => !isDeepStrictEqual(before[key], next[key]));
  if (before.audit.path !== next.audit.path) changed.push("audit.path");
  if (before.usage.enabled !== next.usage.enabled) changed.push("usage.enabled");
  if (changed.length === 0) return;
  const message = "needs restart: the daemon cannot change it while it runs";
  throw new ConfigError(changed.map((key) => unplaced(file, message, key)));
}
