import { readFileSync } from "node:fs";
import type { ServerStatus } from "../core/upstream.ts";
import { ownDescriptors } from "../serve/idle-connections.ts";

/** The most descriptors that the children's pipes and pidfds take. */
export function descriptorsOf(servers: readonly Pick<ServerStatus, "pids">[]): number {
  return servers.reduce((sum, { pids }) => sum + 6 * pids.length, 0);
}

/** A warning where this process may not open as many files as its connections can take; null elsewhere. */
export function tooFewFiles(maxConnections: number): string | null {
  const most = openFilesLimit();
  if (most === null || most >= maxConnections + ownDescriptors) return null;
  return `this process may open ${most} files (ulimit -n, LimitNOFILE), too few for listen.maxConnections (${maxConnections}): when they run out, nobody can connect, not even to the control socket; raise the limit to ${maxConnections + ownDescriptors} and more, or lower listen.maxConnections`;
}

/** Bun raises its soft limit to the hard one. Null where nothing tells (macOS) and for no limit. */
function openFilesLimit(): number | null {
  try {
    const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return hard === undefined ? null : Number(hard);
  } catch {
    return null;
  }
}
