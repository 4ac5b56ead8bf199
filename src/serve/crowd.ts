import { readdir } from "node:fs/promises";

/** Watches how many connections are open; Bun's server neither counts nor limits them. */
export type Crowd = {
  /** More are open than may be: what asks now is turned away and its connection closed. */
  readonly full: boolean;
  close(): void;
};

const every = 500;
/** Descriptors of a gateway without a connection: databases, listeners, children. */
const ownDescriptors = 64;

/**
 * `max` connections; looked at twice a second, so a burst may pass it for a moment. `others` are the descriptors that
 * children and upstreams hold now.
 */
export function watchCrowd(max: number, others: () => number): Crowd {
  const place = process.platform === "linux" ? "/proc/self/fd" : "/dev/fd";
  let full = false;
  let looking = false;
  const look = async () => {
    if (looking) return;
    looking = true;
    // A process that has no descriptor left to look with is full beyond doubt.
    const open = await readdir(place).then(
      (names) => names.length,
      () => Infinity,
    );
    full = open > max + ownDescriptors + others();
    looking = false;
  };
  const timer = setInterval(() => void look(), every);
  timer.unref();
  return {
    get full() {
      return full;
    },
    close: () => clearInterval(timer),
  };
}
