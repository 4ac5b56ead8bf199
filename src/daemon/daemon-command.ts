import { isEdited } from "../config/load.ts";
import type { Flags } from "../config/paths.ts";
import { prepareSocket } from "../control/socket-path.ts";
import { codeOf, messageOf } from "../core/error-text.ts";
import type { Self } from "../core/self.ts";
import { lockState } from "../store/open.ts";
import { boot } from "./boot.ts";
import { openInstallation } from "./installation.ts";
import type { Engine } from "./engine.ts";
import { Daemon } from "./daemon.ts";
import { openLog } from "./own-log.ts";
import { endProcess, guardProcess } from "./process.ts";
import { createService } from "./service-manager.ts";

/** Drain timeout for running calls after SIGTERM, ms. */
const drain = 30_000;

/** Runs `mcpgw daemon` in a prepared process until it is asked to stop. Resolves to the exit code. */
export async function runDaemon(flags: Flags, self: Self): Promise<number> {
  const signals = takeSignals();
  const installation = openInstallation("daemon", flags);
  const { loaded, paths, why } = installation;
  const log = openLog(loaded.config.log);
  guardProcess();
  const lock = lockState(paths.state);
  try {
    await refuseTaken(loaded.config.listen.http, paths.socket);
  } catch (error) {
    log.error("cannot listen", { cause: messageOf(error) });
    return endProcess(1);
  }
  const service = createService(log);
  void signals.asked.then(service.stopping);
  const booted = await boot({ installation, self, log, chains: ["main"] });
  const { engine } = booted;
  const daemon = await Daemon.start({ ...booted, flags, self, log }).catch(async (error: unknown) => {
    log.error("cannot listen", { cause: messageOf(error) });
    await booted.close();
    return endProcess(1);
  });
  const stopped = signals.heed(async () => {
    log.info("stopping", { running: engine.running.size });
    try {
      await daemon.stop(drain);
    } finally {
      await booted.close();
    }
    service.close();
    log.flush();
    // A supervisor that sees the last log line may start the next daemon at once, so the lock must be free by then.
    lock[Symbol.dispose]();
    log.info("stopped");
  });
  // The reload logs and records its own failures. The sender of a signal is unknown, so the actor is "system".
  const reload = () => void daemon.reload("system").catch(() => {});
  signals.reload(reload);
  // An edit between reading the file and this point found no daemon to reload it.
  if (isEdited(loaded)) reload();
  await whenBooted(engine);
  if (!daemon.ready()) return endProcess(await stopped);
  for (const warning of engine.warnings()) log.warn(warning);
  log.info("ready", {
    listen: daemon.url,
    config: loaded.file,
    why,
    state: paths.state,
    socket: paths.socket,
    pid: process.pid,
  });
  service.ready(`serving ${daemon.url}/mcp`);
  return endProcess(await stopped);
}

/** Resolves once every server that starts at boot is listed or has failed, including servers of a concurrent reload. */
async function whenBooted({ upstreams }: Engine): Promise<void> {
  let waited: ReturnType<Engine["upstreams"]>;
  do {
    waited = upstreams();
    await waited.booted();
  } while (waited !== upstreams());
}

/** Throws if another process already listens there. Called before any file of this installation is opened. */
async function refuseTaken({ host, port }: { host: string; port: number }, socket: string): Promise<void> {
  await prepareSocket(socket);
  if (port === 0) return;
  try {
    Bun.listen({ hostname: host, port, socket: { data() {} } }).stop(true);
  } catch (error) {
    throw new Error(`${host}:${port}: ${whyUnusable.get(codeOf(error)) ?? messageOf(error)}`, { cause: error });
  }
}

/** Why the gateway cannot listen on an address, by error code; the error's own message does not explain it. */
const whyUnusable: ReadonlyMap<string | null, string> = new Map([
  ["EADDRINUSE", "the address is in use; stop the process that listens there, or choose another with --listen"],
  ["EADDRNOTAVAIL", "this machine has no such address"],
  [
    "EACCES",
    "this user may not bind to the port; use port 1024 or higher, or under systemd add CAP_NET_BIND_SERVICE to " +
      "AmbientCapabilities and CapabilityBoundingSet of the unit",
  ],
]);

type Signals = {
  /** Resolves once the process is asked to stop. */
  readonly asked: Promise<void>;
  /** Waits until the process is asked to stop, runs `stop`, and resolves to the exit code. */
  heed(stop: () => Promise<void>): Promise<number>;
  /** Sets the SIGHUP handler; a SIGHUP received earlier triggers it too. */
  reload(reload: () => void): void;
};

/** Handles stop and reload signals, which wait until the daemon is up. A second stop signal exits at once. */
function takeSignals(): Signals {
  const asked = Promise.withResolvers<void>();
  const reloading = Promise.withResolvers<() => void>();
  process.on("SIGHUP", () => void reloading.promise.then((reload) => reload()));
  let times = 0;
  const onSignal = (): void => {
    if (++times > 1) process.exit(1);
    asked.resolve();
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal);
  return {
    asked: asked.promise,
    reload: reloading.resolve,
    async heed(stop) {
      await asked.promise;
      try {
        await stop();
        return 0;
      } catch (error) {
        process.stderr.write(`mcpgw: could not shut down cleanly: ${String(error)}\n`);
        return 1;
      }
    },
  };
}
