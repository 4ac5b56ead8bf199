import type { Tool } from "../core/call.ts";
import type { Failure } from "../core/failure.ts";
import type { LocalServer, Upstreams } from "../core/ports.ts";
import { emptyListing, type Listing, type ServerStatus } from "../core/upstream.ts";
import { defaultBreaker } from "./breaker.ts";
import { StartQueue } from "./start-queue.ts";
import { faults } from "./faults.ts";
import type { SetHost, Tuning } from "./host.ts";
import { identityOf, listIdentityOf } from "./identity.ts";
import type { ServerOptions } from "./options.ts";
import { baseEnv } from "./process/child-env.ts";
import { type Reaper, startReaper } from "./process/reaper.ts";
import type { StderrLog } from "./process/stderr-log.ts";
import { endOrphans, defaultStopPatience } from "./process/tree.ts";
import { Subscriptions } from "./subscriptions.ts";
import { Supervisor } from "./supervisor.ts";

type UpstreamsOptions = Omit<
  SetHost,
  "answerLimits" | "ownLimits" | "changed" | "callerChanged" | "retired" | "starts" | "reaper" | "tuning"
> & {
  readonly servers: readonly ServerOptions[];
  readonly local: readonly LocalServer[];
  readonly previous: ManagedUpstreams | null;
  readonly tuning?: Partial<Tuning>;
};

/** The default times. */
export const defaultTuning: Tuning = {
  breaker: defaultBreaker,
  patience: defaultStopPatience,
  start: 60_000,
  probe: 5_000,
  debounce: 250,
};

/** A list may nest deeper than a message; each tool in it must stay within the usual limits. */
const listDepth = 256;
/** An answer may contain one JSON value per this many bytes of its size limit; a caller's message may contain fewer. */
const bytesPerValue = 8;

/** What all sets of a process share. */
type Shared = {
  /** Servers that reloads have removed or changed and that may still be finishing calls; the last set stops them. */
  readonly draining: Set<Supervisor>;
  readonly starts: StartQueue;
  reaper: Reaper | null;
  /** Whether the gateway is shutting down. */
  retired: boolean;
};

const removed = (server: string): Failure => faults.down(server, "it was removed from the configuration");

/** A set of managed servers and the operator's controls for them. Starts nothing before `activate`. */
export class ManagedUpstreams implements Upstreams {
  readonly #servers: readonly ServerOptions[];
  readonly #host: SetHost;
  readonly #local: ReadonlyMap<string, LocalServer>;
  readonly #supervisors = new Map<string, Supervisor>();
  #changed = (): void => {};
  #callerChanged = (): void => {};
  readonly #shared: Shared;
  /** The subscriptions of removed servers, by id; they continue when a server of that id returns. */
  readonly #parked = new Map<string, Subscriptions>();
  /** Null once this set has taken over; otherwise each set would keep all earlier ones in memory. */
  #previous: ManagedUpstreams | null;
  #settled: Promise<unknown> = Promise.resolve();
  /** The servers that start at boot and have not yet been listed or failed, by id. */
  readonly #booting = new Map<string, Promise<unknown>>();

  constructor({ servers, local, previous, tuning, ...host }: UpstreamsOptions) {
    this.#servers = servers;
    this.#previous = previous;
    this.#shared = previous
      ? previous.#shared
      : { draining: new Set(), starts: new StartQueue(), reaper: null, retired: false };
    this.#local = new Map(local.map((server) => [server.id, server]));
    const { nodes, result } = host.limits;
    const answerLimits = { ...host.limits, nodes: Math.max(nodes, Math.floor(result / bytesPerValue)) };
    this.#host = {
      ...host,
      answerLimits,
      ownLimits: { ...answerLimits, depth: listDepth },
      changed: () => this.#changed(),
      callerChanged: () => this.#callerChanged(),
      retired: () => this.#shared.retired,
      starts: this.#shared.starts,
      reaper: () => this.#startReaper(),
      tuning: { ...defaultTuning, ...tuning },
    };
  }

  /** Starts the servers of this set. Unchanged servers are taken over from the previous set; their ids are returned. */
  activate(): ReadonlySet<string> {
    const previous = this.#previous;
    this.#previous = null;
    const adopted = new Set<Supervisor>();
    const running = previous ? previous.#supervisors : new Map<string, Supervisor>();
    for (const options of this.#servers) {
      const old = running.get(options.id);
      const same = old && old.identity === identityOf(options);
      const supervisor = same ? old : new Supervisor(options, this.#host);
      if (same) {
        old.adopt(options, this.#host);
        adopted.add(old);
      } else if (old) supervisor.inherit(old);
      this.#supervisors.set(options.id, supervisor);
    }
    for (const old of running.values()) {
      if (adopted.has(old)) continue;
      this.#shared.draining.add(old);
      // A reader of the log wants to see the new server too, and what the old one writes while it finishes its calls.
      old.log.close(this.#supervisors.get(old.id)?.log ?? null);
      this.#park(old.id, old.instances.subscriptions);
    }
    if (previous) for (const [id, parked] of previous.#parked) this.#park(id, parked);
    if (previous) this.#forgetRemoved(previous.#servers);
    this.#begin(adopted);
    return new Set([...adopted].map(({ id }) => id));
  }

  /**
   * Deletes what is stored for servers that were removed from this process; other processes keep their data in the same
   * store.
   */
  #forgetRemoved(before: readonly ServerOptions[]): void {
    const { lists, log } = this.#host;
    try {
      for (const options of before)
        if (!this.#supervisors.has(options.id)) lists.forget(options.id, listIdentityOf(options));
    } catch (error) {
      log.warn("the stored lists of removed servers could not be deleted", { cause: String(error) });
    }
  }

  /** Hands the subscriptions of a removed server on to the new server of that id, or keeps them until there is one. */
  #park(id: string, subscriptions: Subscriptions): void {
    const successor = this.#supervisors.get(id);
    if (successor) return successor.instances.subscriptions.inherit(subscriptions);
    if (subscriptions.size === 0) return;
    const fail = (): never => {
      throw removed(id);
    };
    const forEver = (): number => Infinity;
    const { clock } = this.#host;
    const lacking = { learn: () => null, need: fail, open: fail, timeout: forEver, wait: forEver };
    const parked = new Subscriptions({ server: id, clock, ...lacking });
    parked.inherit(subscriptions);
    this.#parked.set(id, parked);
  }

  #begin(adopted: ReadonlySet<Supervisor>): void {
    const fresh: Promise<void>[] = [];
    for (const supervisor of this.#supervisors.values()) {
      const { id, boots } = supervisor;
      const listed = supervisor.activate();
      if (!adopted.has(supervisor)) fresh.push(listed);
      if (boots)
        this.#booting.set(
          id,
          listed.then(() => this.#booting.delete(id)),
        );
    }
    this.#settled = Promise.all(fresh);
  }

  /** Lets the removed and changed servers of the previous set finish their calls, at most `ms`, then stops them. */
  async drainPrevious(ms: number): Promise<void> {
    await Promise.all([...this.#shared.draining].map((supervisor) => this.#drain(supervisor, ms)));
  }

  async #drain(supervisor: Supervisor, ms: number): Promise<void> {
    await supervisor.drain(ms);
    this.#shared.draining.delete(supervisor);
  }

  #startReaper(): Reaper {
    const { self, run, log } = this.#host;
    return (this.#shared.reaper ??= startReaper(self.command("__reaper", run), baseEnv(), (session) => {
      log.warn(
        "processes were left behind that cannot be assigned to a server; they are ended when the next server process stops",
        {
          session,
        },
      );
    }));
  }

  #find(id: string): Supervisor {
    const supervisor = this.#supervisors.get(id);
    if (!supervisor) throw new Error(`there is no server "${id}"; \`mcpgw servers list\` shows the existing ones`);
    return supervisor;
  }

  send: Upstreams["send"] = (call, request) => {
    const { route } = call;
    const supervisor = this.#supervisors.get(route.server);
    if (supervisor) return supervisor.sender.send(call, request);
    const local = this.#local.get(route.server);
    if (local) return local.call(call, route.name, call.inbound.params.arguments ?? {});
    return Promise.reject(removed(route.server));
  };

  hold: Upstreams["hold"] = (server) => this.#supervisors.get(server)?.instances.pool.hold() ?? (() => {});

  subscribe: Upstreams["subscribe"] = (call, route, updated) => {
    const supervisor = this.#supervisors.get(route.server);
    if (supervisor) return supervisor.instances.subscribe(call, route.name, updated);
    return Promise.reject(faults.down(route.server, "it has no resources to subscribe to"));
  };

  followTasks: Upstreams["followTasks"] = (call, watch) => {
    const supervisor = this.#supervisors.get(watch.server);
    if (supervisor) return supervisor.following.begin(call, watch);
    return Promise.reject(faults.down(watch.server, "it has no tasks"));
  };

  callerTools: Upstreams["callerTools"] = (party) => {
    const found = new Map<string, readonly Tool[]>();
    for (const supervisor of this.#supervisors.values()) {
      const tools = supervisor.instances.callerTools(party);
      if (tools.length > 0) found.set(supervisor.id, tools);
    }
    return found;
  };

  learnTools: Upstreams["learnTools"] = (party, mayUse) => {
    const unknown = [...this.#supervisors.values()].flatMap((one) => one.learnTools(party, mayUse));
    return unknown.length > 0 ? Promise.all(unknown) : null;
  };

  notify: Upstreams["notify"] = (call, method) => {
    for (const supervisor of this.#supervisors.values()) supervisor.instances.notify(call, method);
  };

  endSession(id: string): void {
    for (const supervisor of this.#supervisors.values()) supervisor.instances.endSession(id);
  }

  listings(): Listing[] {
    const managed = [...this.#supervisors.values()].map((supervisor) => supervisor.listing());
    const local = [...this.#local.values()].map(({ id, tools }) => ({ ...emptyListing, server: id, tools }));
    return [...managed.filter((listing) => listing !== null), ...local];
  }

  /** Calls `listener` from now on after any server's tools or state changed. */
  onChange(listener: () => void): void {
    this.#changed = listener;
  }

  /** Calls `listener` from now on when the tools of some callers' instances have changed. */
  onCallerChange(listener: () => void): void {
    this.#callerChanged = listener;
  }

  status(): ServerStatus[] {
    return [...this.#supervisors.values()].map((supervisor) => supervisor.status());
  }

  /** Resolves once each server that this set did not take over has been listed or failed, if it must be listed. */
  async settled(): Promise<void> {
    await this.#settled;
  }

  /** Resolves once each server that starts at boot has been listed or failed. */
  async booted(): Promise<void> {
    await Promise.all(this.#booting.values());
  }

  /** Returns the ids of the servers that `booted` still waits for. */
  awaited(): string[] {
    return [...this.#booting.keys()];
  }

  /** Throws if the server is disabled or the id is unknown. */
  restart = (id: string): Promise<void> => this.#find(id).restart();
  /** What the server writes to stderr, until a reload removes or changes it; throws if the id is unknown. */
  log = (id: string): StderrLog => this.#find(id).log;

  /** Marks the gateway as shutting down: from now on no server of any set is started. */
  retire(): void {
    this.#shared.retired = true;
  }

  /** Waits for running calls, at most `graceMs`, then stops everything and verifies that no child is left. */
  async close(graceMs: number): Promise<void> {
    this.retire();
    const all = [...this.#supervisors.values(), ...this.#shared.draining];
    await Promise.all(all.map((supervisor) => this.#drain(supervisor, graceMs)));
    await endOrphans(0);
    await this.#shared.reaper?.close();
    this.#shared.reaper = null;
  }
}
