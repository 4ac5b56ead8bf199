import { sdNotify } from "../core/libc.ts";
import type { Logger } from "../core/log.ts";

/** Talks to the service manager, when there is one (sd_notify(3)); failing to reach it changes nothing. */
export type Service = {
  ready(status: string): void;
  stopping(): void;
  close(): void;
};

/** How often the service manager wants a keep-alive if it does not say, µs. */
const usualInterval = 60_000_000;

/**
 * Sends keep-alives at half the interval that the watchdog asks for, as long as the event loop turns. They go on when
 * calls cannot be recorded: a restart would not repair the disk. `/ready` and `status` report that. Until it is ready
 * they also ask for more time, since a long log may have to be read, and servers may be slower to start than the unit
 * expects.
 */
export function createService(log: Logger): Service {
  let warned = false;
  const tell = (state: string): void => {
    try {
      sdNotify(state);
    } catch (error) {
      if (!warned) log.warn("the service manager cannot be told", { cause: String(error) });
      warned = true;
    }
  };
  const usec = Number(process.env["WATCHDOG_USEC"]) || usualInterval;
  let alive = `WATCHDOG=1\nEXTEND_TIMEOUT_USEC=${usec}`;
  const enter = (state: string): void => {
    alive = "WATCHDOG=1";
    tell(state);
  };
  tell(alive);
  const timer = setInterval(() => tell(alive), usec / 2000).unref();
  return {
    ready: (status) => enter(`READY=1\nSTATUS=${status}`),
    stopping: () => enter("STOPPING=1\nSTATUS=stopping"),
    close: () => clearInterval(timer),
  };
}
