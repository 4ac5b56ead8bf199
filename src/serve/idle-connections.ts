import { readdir } from "node:fs/promises";

const every = 500;
/** Descriptors of a gateway without connections, children and requests: databases, listeners, its own threads. */
export const ownDescriptors = 64;

/**
 * Calls `shed` twice a second while more than `max` connections are open, since Bun's server neither counts nor limits
 * them. `others` returns the number of descriptors that children and upstreams hold now.
 */
export function shedIdleConnections(max: number, others: () => number, shed: () => void): { close(): void } {
  const directory = process.platform === "linux" ? "/proc/self/fd" : "/dev/fd";
  let looking = false;
  const look = async () => {
    if (looking) return;
    looking = true;
    // If the directory cannot be read, no descriptors are left.
    const open = await readdir(directory).then(
      (names) => names.length,
      () => Infinity,
    );
    if (open > max + ownDescriptors + others()) shed();
    looking = false;
  };
  const timer = setInterval(() => void look(), every).unref();
  return { close: () => clearInterval(timer) };
}
