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
import { missingGroupWarnings } from "./control-groups.ts";
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
  /** Command-line flags, which stay in effect across reloads. */
  readonly flags: Flags;
  readonly self: Self;
  readonly log: OwnLog;
};

const sessionSweepInterval = 60_000;

/** The listeners of an engine: MCP over HTTP and the control socket. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #sessions: Sessions;
  readonly #tls: Tls | null;
  readonly #http: HttpServer;
  #control: ControlServer | null = null;
  #state: State = "starting";
  #reloading: Promise<void> = Promise.resolve();
  /** Why the last reload failed; null if it succeeded. */
  #rejected: string | null = null;
  readonly #startedAt = Date.now();

  /** Opens both listeners. Throws if either cannot be opened. */
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
    const help = "0 after a reload was rejected, until one succeeds; the previous configuration stays in effect.";
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
    lookEvery(sessionSweepInterval, () => this.#sessions.sweep());
  }

  get url(): string {
    return this.#http.url;
  }

  /** Makes `status` and `/ready` report ready; returns false if the daemon is already stopping. */
  ready(): boolean {
    if (this.#state !== "starting") return false;
    this.#state = "ready";
    return true;
  }

  /** Reloads the configuration file for `actor`, one reload at a time. A bad file is recorded and changes nothing. */
  reload(actor: string): Promise<void> {
    const run = this.#reloading.catch(() => {}).then(() => this.#reload(actor));
    this.#reloading = run;
    return run;
  }

  /** Stops accepting requests, lets running calls finish for `ms`, cancels the rest, and closes the listeners. */
  async stop(ms: number): Promise<void> {
    const { engine } = this.#options;
    this.#state = "draining";
    // A service manager signals the child processes too; servers that end because of it must not be restarted.
    engine.upstreams().retire();
    this.#http.stop();
    engine.running.stop();
    const since = performance.now();
    // A reload in progress would start servers after the shutdown.
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
    // Group membership is resolved only here; a reload does not resolve it again.
    const noGroups = missingGroupWarnings({ control });
    for (const warning of noGroups) log.warn(warning);
    this.#control = await listenControl({
      ...control,
      path: engine.stores.paths.socket,
      version: self.version,
      log,
      // The gateway itself refuses a message that is too long, under the message's id, so the tunnel must pass it on.
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
      // A warning must fit on one line, but a file may have many mistakes.
      const mistakes = facts.cause.replaceAll("\n", "; ");
      this.#rejected = `the configuration was not reloaded; the previous one stays in effect: ${mistakes}`;
      log.error("configuration rejected; the previous one stays in effect", facts);
      await engine.stores.audit
        .recordEvent({ type: "config.rejected", actor, facts })
        .catch((unrecorded: unknown) => log.error("the rejection was not recorded", { cause: messageOf(unrecorded) }));
      throw error;
    }
  }
}
