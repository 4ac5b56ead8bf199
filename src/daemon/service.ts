import { sdNotify } from "../core/libc.ts";

/** Talks to the service manager, when there is one (sd_notify(3)). */
export type Service = {
  ready(status: string): void;
  reloading(): void;
  stopping(): void;
  close(): void;
};

/** Sends keep-alives at half the interval that the watchdog asks for, as long as `healthy` says so. */
export function createService(healthy: () => boolean): Service {
  const usec = Number(process.env["WATCHDOG_USEC"] ?? 0);
  const timer = usec > 0 ? setInterval(() => healthy() && sdNotify("WATCHDOG=1"), usec / 2000) : null;
  const address = process.env["NOTIFY_SOCKET"];
  return {
    ready: (status) => void sdNotify(`READY=1\nSTATUS=${status}`, address),
    // systemd wants the monotonic time with RELOADING=1 (Type=notify-reload).
    reloading: () => void sdNotify(`RELOADING=1\nMONOTONIC_USEC=${Math.round(Bun.nanoseconds() / 1000)}`, address),
    stopping: () => void sdNotify("STOPPING=1", address),
    close: () => void (timer && clearInterval(timer)),
  };
}
