import type { Call } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { isObject } from "../mcp/message.ts";
import { pauseBefore } from "./event-stream.ts";
import { faults, quoted } from "./faults.ts";
import type { LinkHost } from "./link.ts";
import { holdListen } from "./listen.ts";
import type { Instance, Slot } from "./pool.ts";
import { query } from "./query.ts";

/** Resources subscribed to at one server; each costs a server something. */
const mostSubscriptions = 1_024;
/** How long a server may take to begin or end a subscription, ms. */
const askMs = 30_000;

export type SubscriptionsHost = {
  readonly server: string;
  readonly client: LinkHost["client"];
  /** The slot of a key, opened anew where its instance has ended; throws where it cannot be. */
  reopen(slot: Slot): Slot;
  /** Milliseconds before that makes sense. */
  wait(slot: Slot): number;
};

/** What one instance is subscribed to. */
type Group = {
  /** Where it is kept: a server whose options changed hands it on. */
  home: Subscriptions;
  slot: Slot;
  /** By URI: whom to tell. */
  readonly uris: Map<string, Set<() => void>>;
  /** Ends the listening request of a modern instance. */
  listen: AbortController | null;
  /** Subscribing and ending it happen one after the other. */
  turn: Promise<unknown>;
  retry: Timer | null;
  /** Attempts in a row to go on with another instance. */
  tries: number;
};

/** Subscriptions to resources: one for each URI and instance, however many callers share it, kept over reconnects. */
export class Subscriptions {
  readonly #host: SubscriptionsHost;
  readonly #groups = new Map<string, Group>();

  constructor(host: SubscriptionsHost) {
    this.#host = host;
  }

  get size(): number {
    let sum = 0;
    for (const { uris } of this.#groups.values()) sum += uris.size;
    return sum;
  }

  /** Listening requests that are open. */
  get streams(): number {
    return [...this.#groups.values()].filter(({ listen }) => listen).length;
  }

  /** Subscribes; returns the way to end it. Throws when the server refuses, and as `Link.ask` does. */
  async add(call: Call, slot: Slot, uri: string, updated: () => void): Promise<() => void> {
    const group = this.#groupOf(slot);
    const known = group.uris.get(uri);
    if (!known && this.size >= mostSubscriptions) {
      throw faults.overloaded(this.#host.server, `${mostSubscriptions} resources are subscribed to`);
    }
    const listener = (): void => updated();
    const listeners = known ?? new Set();
    listeners.add(listener);
    if (!known) group.uris.set(uri, listeners);
    slot.subscriptions = group.uris.size;
    const remove = (): void => group.home.#remove(group, uri, listener);
    try {
      await this.#inTurn(group, async () => {
        if (!known) await this.#subscribe(group, uri);
      });
    } catch (error) {
      // Whoever joined meanwhile waits for the same turn and fails with it.
      group.uris.delete(uri);
      this.#shrink(group);
      throw error;
    }
    if (call.controller.signal.aborted) {
      remove();
      throw faults.cancelled();
    }
    return remove;
  }

  /** An instance said that a resource has changed; false when nobody subscribed to it there. */
  updated(slot: Slot, params: string): boolean {
    const parsed: unknown = JSON.parse(params);
    const uri = isObject(parsed) ? parsed.uri : undefined;
    const listeners = typeof uri === "string" ? this.#groups.get(slot.spec.key)?.uris.get(uri) : undefined;
    for (const listener of listeners ?? []) listener();
    return listeners !== undefined;
  }

  /** The server lost the session that its subscriptions belonged to. */
  renewed(slot: Slot): void {
    const group = this.#groups.get(slot.spec.key);
    if (group?.slot === slot) void this.#inTurn(group, () => this.#restore(group)).catch(() => {});
  }

  /** The instance has ended: its subscriptions move to the next one. */
  ended(slot: Slot): void {
    const group = this.#groups.get(slot.spec.key);
    if (group?.slot !== slot) return;
    if (slot.until?.aborted) return this.drop(slot.spec.key);
    group.listen?.abort();
    group.listen = null;
    this.#moveSoon(group);
  }

  /** Forgets what belongs to an instance that is not wanted any more. */
  drop(key: string): void {
    const group = this.#groups.get(key);
    if (!group) return;
    group.uris.clear();
    this.#shrink(group);
  }

  /** Goes on with what a server of other options was subscribed to, on instances of its own. */
  inherit(old: Subscriptions): void {
    for (const [key, group] of old.#groups) {
      old.#groups.delete(key);
      group.listen?.abort();
      group.listen = null;
      if (group.retry) clearTimeout(group.retry);
      group.retry = null;
      group.home = this;
      this.#groups.set(key, group);
      this.#moveSoon(group);
    }
  }

  close(): void {
    for (const key of this.#groups.keys()) this.drop(key);
  }

  #groupOf(slot: Slot): Group {
    const { key } = slot.spec;
    let group = this.#groups.get(key);
    if (!group) {
      group = { home: this, slot, uris: new Map(), listen: null, turn: Promise.resolve(), retry: null, tries: 0 };
      this.#groups.set(key, group);
    }
    group.slot = slot;
    return group;
  }

  #inTurn(group: Group, work: () => Promise<void>): Promise<void> {
    const next = group.turn.then(work);
    group.turn = next.catch(() => {});
    return next;
  }

  #remove(group: Group, uri: string, listener: () => void): void {
    const listeners = group.uris.get(uri);
    if (!listeners?.delete(listener) || listeners.size > 0) return;
    group.uris.delete(uri);
    void this.#inTurn(group, () => this.#unsubscribe(group, uri)).catch(() => {});
    this.#shrink(group);
  }

  #shrink(group: Group): void {
    group.slot.subscriptions = group.uris.size;
    if (group.uris.size > 0) return;
    if (group.retry) clearTimeout(group.retry);
    group.listen?.abort();
    group.listen = null;
    if (this.#groups.get(group.slot.spec.key) === group) this.#groups.delete(group.slot.spec.key);
  }

  // ── at the server ───────────────────────────────────────────────────────────────────────────────────────────

  async #subscribe(group: Group, uri: string): Promise<void> {
    const instance = await group.slot.starting;
    if (instance.peer.era === "modern") return this.#listenTo(group, instance);
    const answer = await this.#ask(instance, "resources/subscribe", uri);
    if (answer.kind === "result") return;
    throw new Failure("invalid-params", `The server "${this.#host.server}" refuses it: ${quoted(answer.message)}`);
  }

  async #unsubscribe(group: Group, uri: string): Promise<void> {
    const { instance } = group.slot;
    // Somebody subscribed again meanwhile, or there is nothing left to end it on.
    if (group.uris.has(uri) || !instance) return;
    if (instance.peer.era === "legacy") await this.#ask(instance, "resources/unsubscribe", uri);
    else if (group.uris.size > 0) await this.#listenTo(group, instance);
  }

  #ask({ link, peer }: Instance, method: string, uri: string) {
    return query(link, this.#host, { method, peer, timeout: askMs, params: { uri } });
  }

  /** Listens to all URIs of a group; what listened before ends once the server has begun. */
  async #listenTo(group: Group, instance: Instance): Promise<void> {
    const uris = [...group.uris.keys()];
    const before = group.listen;
    const listen = (group.listen = new AbortController());
    const { promise: begun, resolve, reject } = Promise.withResolvers<void>();
    const refused = (): void => reject(faults.down(this.#host.server, "it does not tell of changes to this resource"));
    const timer = setTimeout(refused, askMs);
    void holdListen({
      instance,
      client: this.#host,
      filter: { resourceSubscriptions: uris },
      signal: listen.signal,
      acknowledged: ({ resourceSubscriptions: honoured }, again) => {
        if (Array.isArray(honoured) && !uris.every((uri) => honoured.includes(uri))) return refused();
        resolve();
        if (again) this.#all(group);
      },
      heard: (method, params) => {
        if (method === "notifications/resources/updated") this.updated(group.slot, params);
      },
    }).then(refused);
    try {
      await begun;
      before?.abort();
    } catch (error) {
      listen.abort();
      if (group.listen === listen) group.listen = before;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** While nobody listened anything may have changed. */
  #all({ uris }: Group): void {
    for (const listeners of uris.values()) for (const listener of listeners) listener();
  }

  async #restore(group: Group): Promise<void> {
    if (group.uris.size === 0) return;
    const instance = await group.slot.starting;
    if (instance.peer.era === "modern") await this.#listenTo(group, instance);
    else for (const uri of group.uris.keys()) await this.#subscribe(group, uri);
    this.#all(group);
  }

  #moveSoon(group: Group): void {
    if (group.uris.size === 0 || group.retry) return;
    const pause = group.tries++ === 0 ? 0 : pauseBefore(null, group.tries - 1);
    const move = async (): Promise<void> => {
      group.slot = this.#host.reopen(group.slot);
      group.slot.subscriptions = group.uris.size;
      await this.#restore(group);
      group.tries = 0;
    };
    group.retry = setTimeout(
      () => {
        group.retry = null;
        void this.#inTurn(group, move).catch(() => this.#moveSoon(group));
      },
      Math.max(pause, this.#host.wait(group.slot)),
    );
    group.retry.unref();
  }
}
