import { sdNotify } from "../core/libc.ts";
import type { Logger } from "../core/log.ts";

/** Talks to the service manager, when there is one (sd_notify(3)); failing to reach it changes nothing. */
export type Service = {
  ready(status: string): void;
  stopping(): void;
  close(): void;
};

/**
 * Sends keep-alives at half the interval that the watchdog asks for, as long as the event loop turns. They go on when
 * calls cannot be recorded: a restart would not repair the disk. `/ready` and `status` report that.
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
  const usec = Number(process.env["WATCHDOG_USEC"] ?? 0);
  const timer = usec > 0 ? setInterval(tell, usec / 2000, "WATCHDOG=1") : null;
  return {
    ready: (status) => tell(`READY=1\nSTATUS=${status}`),
    stopping: () => tell("STOPPING=1"),
    close: () => void (timer && clearInterval(timer)),
  };
}
