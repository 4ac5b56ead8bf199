import { type AbortSignalLike, onAbort } from "../../core/cancel.ts";
import type { Era } from "../../core/inbound.ts";
import type { RememberedEras } from "../../core/store.ts";
import { faults, NoRevision, reasonOf, isInconclusive } from "../faults.ts";
import { ungreeted } from "../link/handshake.ts";
import type { Terms } from "../host.ts";
import { digest, listIdentityOf } from "../identity.ts";
import type { Instance, Link, LinkEvents, LinkHost } from "../link/link.ts";
import { type FirstContact, greetAgain, meet, type Met, speaksLegacy, type SpokenEras } from "./first-contact.ts";
import { secretsOf } from "../options.ts";
import { createStderrLog, type StderrLog } from "../process/stderr-log.ts";
import { type ChildContext, factsOf, type LinkKind, openLink, protocolOf } from "../transports/index.ts";

/** How long a stored result about a server's era is valid, ms: servers are upgraded. */
const verdictMs = 24 * 3_600_000;

/** Starts and ends the instances of one server in the eras that it speaks, and keeps their log. */
export class Starter {
  readonly log: StderrLog;
  /** The eras that the server spoke when it was last met; before that, the configured ones. */
  spoken: SpokenEras;
  /** Whether these are certain. */
  known: boolean;
  /** The number of messages that belonged to no request. */
  dropped = 0;
  readonly #terms: Terms;
  readonly #links = new Set<Link>();
  #learning: Promise<void> | null = null;
  /** Incremented when all instances are ended: a start that began before must not continue. */
  #round = 0;

  constructor(terms: Terms) {
    const { options, host } = terms;
    this.#terms = terms;
    const protocol = protocolOf(options);
    const modern = protocol === "modern";
    this.spoken = { modern, legacy: !modern, sse: false };
    this.known = modern || (protocol === "legacy" && !factsOf(options).perRequest);
    this.log = createStderrLog(Object.values(secretsOf(options)), () => this.#terms.host.secrets(), host.clock);
  }

  /** Returns the host of a new link whose handshake declares these capabilities, raw JSON; none by default. */
  linkHost(events: LinkEvents, declares = "{}"): LinkHost {
    const { options, host } = this.#terms;
    const { log } = host;
    const server = options.id;
    return {
      ...events,
      server,
      client: () => this.#terms.host.client,
      secrets: () => this.#terms.host.secrets(),
      timeout: () => this.#terms.options.timeout,
      limits: () => this.#terms.host.answerLimits,
      ownLimits: () => this.#terms.host.ownLimits,
      declares,
      asker: () => null,
      log,
      dropped: (reason) => {
        this.dropped++;
        log.debug("dropped a message from a server", { server, reason });
      },
    };
  }

  /** Finds out which eras the server speaks, and opens the gateway's own instance. */
  async meet(host: LinkHost): Promise<Met> {
    const met = await meet(this.#firstContact(host));
    this.spoken = met.speaks;
    this.known = true;
    return met;
  }

  /** The era of a call: the caller's if the server speaks it, since then nothing is lost; otherwise the other. */
  eraFor(caller: Era): Era {
    const { modern, legacy } = this.spoken;
    if (caller === "modern") return modern ? "modern" : "legacy";
    return legacy ? "legacy" : "modern";
  }

  /** Finds out whether a modern server also speaks legacy, once a legacy caller needs it; null if that is known. */
  learnLegacy(host: LinkHost): Promise<void> | null {
    if (this.spoken.legacy !== null) return null;
    return (this.#learning ??= this.#askLegacy(host).finally(() => (this.#learning = null)));
  }

  async #askLegacy(host: LinkHost): Promise<void> {
    const before = this.spoken;
    const found = speaksLegacy(this.#firstContact(host), this.#terms.host.tuning.probe);
    const legacy = await found.catch((error: unknown) => {
      // The next caller that needs to know asks again.
      if (isInconclusive(error)) return null;
      throw error;
    });
    // The server may have been met again in the meantime.
    if (this.spoken === before) this.spoken = { ...before, legacy };
  }

  /** Whether a failure shows that a modern server does not speak legacy; if so, forgets the earlier result. */
  doubtLegacy(error: unknown): boolean {
    if (!this.spoken.modern || !(error instanceof NoRevision)) return false;
    if (this.spoken.legacy) {
      this.spoken = { ...this.spoken, legacy: null };
      this.#save(null);
    }
    return true;
  }

  #firstContact(host: LinkHost): FirstContact {
    const { options } = this.#terms;
    const round = this.#round;
    return {
      protocol: protocolOf(options),
      http: factsOf(options).perRequest,
      open: (kind) => {
        if (round !== this.#round) throw faults.down(host.server, "it was stopped");
        return this.#open(host, kind);
      },
      startMs: this.#startMs,
      probeMs: this.#terms.host.tuning.probe,
      recall: () => this.#recall(),
      save: (speaks) => this.#save(speaks),
    };
  }

  /**
   * Opens an instance for callers; modern HTTP needs no handshake, because every request is self-contained. Gives up
   * during the handshake once `left` aborts.
   */
  async start(era: Era, host: LinkHost, left?: AbortSignalLike): Promise<Instance> {
    const link = this.#open(host, this.spoken.sse ? "sse" : "usual");
    if (era === "modern" && factsOf(this.#terms.options).perRequest) return { link, peer: ungreeted };
    const unwatch = left && onAbort(left, () => void link.close());
    try {
      return { link, peer: await greetAgain(link, era, this.#startMs) };
    } finally {
      unwatch?.();
    }
  }

  /** Handshake timeout, ms: a process may take longer to start than to answer, a server with a URL may not. */
  get #startMs(): number {
    const { options, host } = this.#terms;
    const { start } = host.tuning;
    return "url" in options ? Math.min(start, options.timeout) : start;
  }

  #open(host: LinkHost, kind: LinkKind): Link {
    const probe = kind === "probe";
    const { options } = this.#terms;
    const { run, self, tuning } = this.#terms.host;
    if (!("url" in options)) this.#needReaper();
    const child: ChildContext = {
      self,
      run,
      stderr: (pid) => this.log.writer(pid),
      spawned: (pid, argv) => this.#spawned(pid, argv, probe),
      gone: (pid, survivors) => this.#gone(pid, survivors, probe),
      patience: tuning.patience,
    };
    // Only the answers of a probe matter.
    const quiet = { ...host, dropped: () => {}, notified: () => true };
    const link = openLink(options, probe ? quiet : host, child, kind);
    this.#links.add(link);
    // A broken link may take a while to end what is left of its server.
    void link.ended.then(() => link.close()).finally(() => this.#links.delete(link));
    return link;
  }

  #recall(): SpokenEras | null {
    const { options, host } = this.#terms;
    try {
      const { at = 0, speaks } = host.lists.recallEras(options.id, listIdentityOf(options)) ?? {};
      const age = host.clock.now() / 1000 - at;
      // A negative age comes from a clock that was ahead; such a result would stay valid for too long.
      if (!speaks || age < 0 || age > verdictMs) return null;
      return { modern: speaks !== "legacy", legacy: speaks !== "modern", sse: false };
    } catch (error) {
      const facts = { server: options.id, cause: String(error) };
      host.log.warn("the stored protocol era of a server cannot be read; the server is asked again", facts);
      return null;
    }
  }

  #save(speaks: SpokenEras | null): void {
    const { options, host } = this.#terms;
    const { lists, clock, log } = host;
    const word: RememberedEras["speaks"] = speaks?.modern ? (speaks.legacy ? "both" : "modern") : "legacy";
    try {
      const eras = speaks && { speaks: word, at: clock.now() / 1000 };
      lists.rememberEras(options.id, listIdentityOf(options), eras);
    } catch (error) {
      log.warn("the protocol era of a server was not stored", { server: options.id, cause: String(error) });
    }
  }

  /** Ends all instances, including those in their handshake. */
  async close(): Promise<void> {
    this.#round++;
    await Promise.all([...this.#links].map((link) => link.close()));
  }

  /** Throws if nothing would end a child together with the gateway. */
  #needReaper(): void {
    const { options, host } = this.#terms;
    try {
      host.reaper();
    } catch (error) {
      throw faults.down(
        options.id,
        `the process that would end it together with the gateway cannot be started (${reasonOf(error)})`,
      );
    }
  }

  #spawned(pid: number, argv: readonly string[], probe: boolean): void {
    const { options, host } = this.#terms;
    host.reaper().add(pid);
    const facts = { server: options.id, pid, argv: digest(argv), sandbox: "none" } as const;
    host.record({ type: probe ? "server.probed" : "server.started", actor: "system", facts });
  }

  #gone(pid: number, survivors: readonly number[], probe: boolean): void {
    const { options, host } = this.#terms;
    const server = options.id;
    host.reaper().remove(pid);
    if (!probe) host.record({ type: "server.stopped", actor: "system", facts: { server, pid } });
    if (survivors.length > 0) {
      host.log.error("processes of a server cannot be killed", { server, pids: survivors.join(" ") });
    }
  }
}
