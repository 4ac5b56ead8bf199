import { sdNotify } from "../core/libc.ts";

/** Talks to the service manager, when there is one (sd_notify(3)). */
export type Service = {
  ready(status: string): void;
  stopping(): void;
  close(): void;
};

/**
 * Sends keep-alives at half the interval that the watchdog asks for, as long as the event loop turns; a restart would
 * not mend a disk, so whether calls can be recorded is for `/ready` and `status` to say.
 */
export function createService(): Service {
  const usec = Number(process.env["WATCHDOG_USEC"] ?? 0);
  const timer = usec > 0 ? setInterval(() => sdNotify("WATCHDOG=1"), usec / 2000) : null;
  const address = process.env["NOTIFY_SOCKET"];
  return {
    ready: (status) => void sdNotify(`READY=1\nSTATUS=${status}`, address),
    stopping: () => void sdNotify("STOPPING=1", address),
    close: () => void (timer && clearInterval(timer)),
  };
}
