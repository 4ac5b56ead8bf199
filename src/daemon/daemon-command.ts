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

/** How long running calls may take to end after SIGTERM, ms. */
const drain = 30_000;

/** `mcpgw daemon`, in a prepared process: serves until it is told to stop. Resolves to the exit code. */
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
    // Whoever reads the last line may start the next daemon.
    lock[Symbol.dispose]();
    log.info("stopped");
  });
  // The reload itself logs and records what went wrong. A signal does not tell who sent it.
  const reload = () => void daemon.reload("system").catch(() => {});
  signals.reload(reload);
  // Whoever edited the file since it was read met no daemon yet that could load it again.
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

/** Resolves once each server that starts at boot was listed or failed, those of a reload meanwhile too. */
async function whenBooted({ upstreams }: Engine): Promise<void> {
  let waited: ReturnType<Engine["upstreams"]>;
  do {
    waited = upstreams();
    await waited.booted();
  } while (waited !== upstreams());
}

/** Throws where another process listens already. Called before anything of this installation is opened. */
async function refuseTaken({ host, port }: { host: string; port: number }, socket: string): Promise<void> {
  await prepareSocket(socket);
  if (port === 0) return;
  try {
    Bun.listen({ hostname: host, port, socket: { data() {} } }).stop(true);
  } catch (error) {
    throw new Error(`${host}:${port}: ${whyUnusable.get(codeOf(error)) ?? messageOf(error)}`, { cause: error });
  }
}

/** Why an address cannot be listened at, by the code of the error, whose own words do not tell. */
const whyUnusable: ReadonlyMap<string | null, string> = new Map([
  ["EADDRINUSE", "the address is in use; stop what listens there, or name another with --listen"],
  ["EADDRNOTAVAIL", "this machine has no such address"],
  [
    "EACCES",
    "this user may not take the port; take one from 1024 on, or under systemd add CAP_NET_BIND_SERVICE to " +
      "AmbientCapabilities and CapabilityBoundingSet of the unit",
  ],
]);

type Signals = {
  /** Resolves once the process is asked to stop. */
  readonly asked: Promise<void>;
  /** Resolves to the exit code once everything has ended that `stop` ends. */
  heed(stop: () => Promise<void>): Promise<number>;
  /** From now on SIGHUP means this; so does one that came before. */
  reload(reload: () => void): void;
};

/**
 * Takes the signals that ask to stop or to reload, from now on. One that comes before the daemon stands waits until it
 * does. A second signal to stop ends the process at once.
 */
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
        process.stderr.write(`mcpgw: could not stop in order: ${String(error)}\n`);
        return 1;
      }
    },
  };
}
