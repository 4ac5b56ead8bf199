import { handshake } from "./discovery.ts";
import type { SetHost } from "./host.ts";
import { digest } from "./identity.ts";
import type { Link, LinkHost, Peer } from "./link.ts";
import type { ServerOptions } from "./options.ts";
import type { Instance } from "./pool.ts";
import { createStderrLog, type StderrLog } from "./stderr-log.ts";
import { openLink, secretsOf } from "./transport.ts";

/** A list may hold this many times the values of a message, and nest deeper; each tool is held to the usual limits. */
const listFactor = 20;
const listDepth = 256;

/** What a starter reports to its supervisor. */
export type StarterEvents = {
  dropped(): void;
  notified(method: string): void;
};

/** Starts and ends the instances of one server, and keeps their log. */
export class Starter {
  readonly log: StderrLog;
  readonly #events: StarterEvents;
  readonly #links = new Set<Link>();
  #options: ServerOptions;
  #host: SetHost;

  constructor(options: ServerOptions, host: SetHost, events: StarterEvents) {
    this.#options = options;
    this.#host = host;
    this.#events = events;
    this.log = createStderrLog(secretsOf(options), host.clock);
  }

  /** From here on starts belong to another set. */
  adopt(options: ServerOptions, host: SetHost): void {
    this.#options = options;
    this.#host = host;
  }

  /** What links need; `forLists` allows for answers as large as a list may be. */
  linkHost(forLists = false): LinkHost {
    const { limits, client, log } = this.#host;
    const server = this.#options.id;
    const larger = { ...limits, depth: listDepth, nodes: limits.nodes * listFactor };
    return {
      server,
      limits: forLists ? larger : limits,
      client,
      log,
      dropped: (reason) => {
        this.#events.dropped();
        log.debug("dropped a message of a server", { server, reason });
      },
      notified: (method) => this.#events.notified(method),
    };
  }

  /** Opens a link and shakes hands, unless what that would agree on is known already. */
  async start(agreed: Peer | null, forLists = false): Promise<Instance> {
    const host = this.linkHost(forLists);
    const { run, self, tuning } = this.#host;
    const link = openLink(this.#options, host, {
      self,
      run,
      // No two of a run may share it, whichever generation of the server they are of: by it they are ended.
      instance: `${run}-${host.server}-${crypto.randomUUID()}`,
      stderr: (pid) => this.log.writer(pid),
      spawned: (pid) => this.#spawned(pid),
      gone: (pid, survivors) => this.#gone(pid, survivors),
      patience: tuning.patience,
    });
    this.#links.add(link);
    void link.ended.then(() => this.#links.delete(link));
    if (agreed) return { link, peer: agreed };
    try {
      return { link, peer: await handshake(link, host, tuning.start) };
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  /** Ends all instances, those in their handshake too. */
  async close(): Promise<void> {
    await Promise.all([...this.#links].map((link) => link.close()));
  }

  #spawned(pid: number): void {
    const options = this.#options;
    this.#host.reaper().add(pid);
    const argv = digest("command" in options ? [options.command, ...options.args] : options.id);
    const facts = { server: options.id, pid, argv, sandbox: "none" };
    this.#host.note({ type: "server.started", actor: "system", facts });
  }

  #gone(pid: number, survivors: readonly number[]): void {
    const server = this.#options.id;
    this.#host.reaper().remove(pid);
    this.#host.note({ type: "server.stopped", actor: "system", facts: { server, pid } });
    if (survivors.length > 0) {
      this.#host.log.error("processes of a server cannot be killed", { server, pids: survivors.join(" ") });
    }
  }
}
