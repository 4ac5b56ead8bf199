import type { ServerStatus } from "../core/upstream.ts";
import { ownDescriptors } from "../serve/idle-connections.ts";
import { limitIn } from "./process.ts";

/** Returns the maximum number of descriptors that the child processes' pipes and pidfds take. */
export function descriptorsOf(servers: readonly Pick<ServerStatus, "pids">[]): number {
  return servers.reduce((sum, { pids }) => sum + 6 * pids.length, 0);
}

/** Returns a warning if this process may not open enough files for its connections; null otherwise. */
export function fileLimitWarning(maxConnections: number): string | null {
  // Bun raises its soft limit to the hard one.
  const most = limitIn(/^Max open files\s+\S+\s+(\d+)/m);
  if (most === null || most >= maxConnections + ownDescriptors) return null;
  return `this process may open ${most} files (ulimit -n, LimitNOFILE), too few for listen.maxConnections (${maxConnections}): when they run out, nobody can connect, not even to the control socket; raise the limit to at least ${maxConnections + ownDescriptors}, or lower listen.maxConnections`;
}
