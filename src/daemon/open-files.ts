import type { ServerStatus } from "../core/upstream.ts";
import { ownDescriptors } from "../serve/idle-connections.ts";
import { limitIn } from "./process.ts";

/** The most descriptors that the children's pipes and pidfds take. */
export function descriptorsOf(servers: readonly Pick<ServerStatus, "pids">[]): number {
  return servers.reduce((sum, { pids }) => sum + 6 * pids.length, 0);
}

/** A warning where this process may not open as many files as its connections can take; null elsewhere. */
export function tooFewFiles(maxConnections: number): string | null {
  // Bun raises its soft limit to the hard one.
  const most = limitIn(/^Max open files\s+\S+\s+(\d+)/m);
  if (most === null || most >= maxConnections + ownDescriptors) return null;
  return `this process may open ${most} files (ulimit -n, LimitNOFILE), too few for listen.maxConnections (${maxConnections}): when they run out, nobody can connect, not even to the control socket; raise the limit to ${maxConnections + ownDescriptors} and more, or lower listen.maxConnections`;
}
