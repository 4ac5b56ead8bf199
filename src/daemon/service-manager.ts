import { sdNotify } from "../core/libc.ts";
import type { Logger } from "../core/log.ts";

/** Notifies the service manager, if there is one (sd_notify(3)); failures are logged and otherwise ignored. */
export type Service = {
  ready(status: string): void;
  stopping(): void;
  close(): void;
};

/** Default watchdog interval, if the service manager sets none, µs. */
const defaultWatchdogInterval = 60_000_000;

/**
 * Sends keep-alives at half the watchdog interval while the event loop runs, even if calls cannot be recorded, since a
 * restart would not repair the disk. Until the gateway is ready, they also extend the start timeout, since reading a
 * long log or starting servers may take longer.
 */
export function createService(log: Logger): Service {
  let warned = false;
  const tell = (state: string): void => {
    try {
      sdNotify(state);
    } catch (error) {
      if (!warned) log.warn("the service manager cannot be notified", { cause: String(error) });
      warned = true;
    }
  };
  const usec = Number(process.env["WATCHDOG_USEC"]) || defaultWatchdogInterval;
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
