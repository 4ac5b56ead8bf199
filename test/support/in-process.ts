import { thisHost } from "../../src/config/paths.ts";
import { silent } from "../../src/core/log.ts";
import { boot, type BootOptions } from "../../src/daemon/boot.ts";
import { Daemon } from "../../src/daemon/daemon.ts";
import { openInstallation } from "../../src/daemon/installation.ts";
import { type Place, self } from "./daemon.ts";

const flagsOf = ({ config, state }: Place) => ({ config, state, listen: "127.0.0.1:0" });

/** Returns the installation of a gateway in the test's process, determined only by its place. */
export const installationOf = (place: Place) =>
  openInstallation("serve", flagsOf(place), { ...thisHost(), env: place.env() });

/** Wraps a shutdown function so that it runs only once. */
export function once<A extends readonly unknown[]>(end: (...args: A) => Promise<void>): typeof end {
  let ended: Promise<void> | null = null;
  return (...args) => (ended ??= end(...args));
}

/** Starts a gateway without listeners in this process; it is closed when the scope ends, if not before. */
export async function bootIn(place: Place, admit?: BootOptions["admit"]) {
  const booted = await boot({ installation: installationOf(place), self, log: silent, chains: ["main"], admit });
  const close = once(booted.close);
  return { ...booted, close, [Symbol.asyncDispose]: close };
}

/** Starts a daemon in this process; it is stopped when the scope ends, if not before, without waiting for calls. */
export async function startIn(place: Place) {
  const booted = await bootIn(place);
  const log = { ...silent, configure() {}, flush() {} };
  const daemon = await Daemon.start({ ...booted, flags: flagsOf(place), self, log });
  daemon.stop = once(daemon.stop.bind(daemon));
  return { ...booted, daemon, [Symbol.asyncDispose]: () => daemon.stop(0).then(booted.close) };
}
