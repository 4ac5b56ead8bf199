import type { Flags } from "../config/paths.ts";
import { Refusal } from "../control/refusal.ts";
import { type ControlServer, listen as listenControl } from "../control/server.ts";
import { lookEvery } from "../core/clock.ts";
import { messageOf } from "../core/error-text.ts";
import type { Self } from "../core/self.ts";
import { within } from "../core/wait.ts";
import { gauge } from "../gateway/metrics.ts";
import { headroom } from "../mcp/message.ts";
import { type HttpServer, serveHttp } from "../serve/http.ts";
import { finishSession } from "../serve/session-records.ts";
import { Sessions } from "../session/sessions.ts";
import type { Archive } from "./archive.ts";
import { withoutGroup } from "./control-groups.ts";
import type { Engine } from "./engine.ts";
import { refuseFixedChange } from "./fixed-options.ts";
import { gaugesOf } from "./gauges.ts";
import { createHandlers } from "./handlers/index.ts";
import { loadAt } from "./installation.ts";
import { descriptorsOf } from "./open-files.ts";
import type { OwnLog } from "./own-log.ts";
import { readinessOf, type State } from "./readiness.ts";
import { Tls } from "./tls.ts";

export type DaemonOptions = {
  readonly engine: Engine;
  readonly archive: Archive;
  /** Flags of the command line, which stay in force over every reload. */
  readonly flags: Flags;
  readonly self: Self;
  readonly log: OwnLog;
};

const sessionSweep = 60_000;

/** The listeners around an engine: MCP over HTTP and the control socket. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #sessions: Sessions;
  readonly #tls: Tls | null;
  readonly #http: HttpServer;
  #control: ControlServer | null = null;
  #state: State = "starting";
  #reloading: Promise<void> = Promise.resolve();
  /** Why the last reload failed; null once one has succeeded. */
  #rejected: string | null = null;
  readonly #startedAt = Date.now();

  /** Opens both listeners; throws when one cannot be opened. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const daemon = new Daemon(options);
    await daemon.#listenControl();
    return daemon;
  }

  private constructor(options: DaemonOptions) {
    this.#options = options;
    const { engine } = options;
    const { listen } = engine.loaded().config;
    this.#sessions = new Sessions({
      clock: engine.stores.clock,
      traffic: engine.traffic,
      onEnd: (session, reason) => finishSession(engine.current(), session, reason),
    });
    engine.metrics.add(...gaugesOf(engine));
    const help = "0 since a reload was refused, until one is taken: the configuration before it is in force.";
    engine.metrics.add(gauge("mcpgw_config_ok", help, () => (this.#rejected === null ? 1 : 0)));
    this.#tls = listen.tls ? new Tls(listen.tls) : null;
    this.#http = serveHttp({
      ...listen,
      address: listen.http,
      tls: this.#tls,
      current: engine.current,
      sessions: this.#sessions,
      running: engine.running,
      traffic: engine.traffic,
      otherDescriptors: () => descriptorsOf(engine.current().upstreams.status()) + 2 * engine.running.size,
      readiness: () => readinessOf(engine, this.#state),
      metrics: () => engine.metrics.render(),
      log: options.log,
    });
    lookEvery(sessionSweep, () => this.#sessions.sweep());
  }

  get url(): string {
    return this.#http.url;
  }

  /** From now on `status` and `/ready` say ready; false when the daemon is stopping already. */
  ready(): boolean {
    if (this.#state !== "starting") return false;
    this.#state = "ready";
    return true;
  }

  /**
   * Loads the file again and puts it into force, one reload at a time. A bad file is recorded and changes nothing.
   * `actor` is who asked for it.
   */
  reload(actor: string): Promise<void> {
    const run = this.#reloading.catch(() => {}).then(() => this.#reload(actor));
    this.#reloading = run;
    return run;
  }

  /** Stops accepting, lets calls finish for `ms`, cancels the rest and closes the listeners. */
  async stop(ms: number): Promise<void> {
    const { engine } = this.#options;
    this.#state = "draining";
    // A service manager signals the children too: servers that end because of it must not be started again.
    engine.upstreams().retire();
    this.#http.stop();
    engine.running.stop();
    const since = performance.now();
    // A reload that is under way would put servers in place behind the stop.
    const reloaded = this.#reloading.catch(() => {});
    await within(reloaded, ms, null, () => {});
    await engine.finish(Math.max(0, ms - (performance.now() - since)));
    this.#sessions.endAll("shutdown");
    this.#control?.close();
    await this.#http.close();
  }

  async #listenControl(): Promise<void> {
    const { engine, self, log, archive } = this.#options;
    const { control } = engine.loaded().config;
    // Who is in which group is looked up now, and a reload changes nothing of it.
    const noGroups = withoutGroup({ control });
    for (const warning of noGroups) log.warn(warning);
    this.#control = await listenControl({
      ...control,
      path: engine.stores.paths.socket,
      version: self.version,
      log,
      // The gateway refuses a message that is too long, under its id; so the tunnel has to let it through.
      tunnelLine: () => engine.current().caps.body + headroom,
      handlers: createHandlers({
        engine,
        archive,
        self,
        serving: {
          startedAt: this.#startedAt,
          state: () => this.#state,
          listen: () => [`${this.#http.url}/mcp`],
          outdated: () => [this.#rejected, this.#tls?.outdated(), ...noGroups].filter((one) => typeof one === "string"),
        },
        reload: (actor) => this.reload(actor),
      }),
    });
  }

  async #reload(actor: string): Promise<void> {
    if (this.#state === "draining") throw new Refusal("unavailable", "the daemon is stopping");
    const { engine, flags, log } = this.#options;
    const before = engine.loaded();
    try {
      const next = loadAt(before.file, flags);
      refuseFixedChange(before.config, next);
      await engine.replace(next, actor);
      this.#http.refresh();
      log.configure(next.config.log);
      this.#rejected = null;
      log.info("configuration loaded", { file: next.file, digest: next.digest });
      for (const warning of [...engine.warnings(), this.#tls?.outdated()]) if (warning) log.warn(warning);
    } catch (error) {
      const facts = { file: before.file, cause: messageOf(error) };
      // A warning is one line, and a file may have many mistakes.
      const mistakes = facts.cause.replaceAll("\n", "; ");
      this.#rejected = `the configuration was not reloaded, the one before is in force: ${mistakes}`;
      log.error("configuration rejected; the one before stays in force", facts);
      await engine.stores.audit
        .recordEvent({ type: "config.rejected", actor, facts })
        .catch((unrecorded: unknown) => log.error("the rejection is not on record", { cause: messageOf(unrecorded) }));
      throw error;
    }
  }
}
