import type { Call } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { objectIn } from "../core/json.ts";
import { longestName } from "../core/name.ts";
import type { Updated } from "../core/ports.ts";
import { within } from "../core/wait.ts";
import { pauseBefore } from "./backoff.ts";
import { faults, quoted } from "./faults.ts";
import type { Slot } from "./instances/pool.ts";
import type { Instance } from "./link/link.ts";
import { beginListen, type Begun, type Listening } from "./link/listen.ts";
import { query } from "./link/query.ts";

/** Most resources subscribed to at one server, each of which costs it something: four times what one principal may have. */
export const mostSubscriptions = 4_096;

type SubscriptionsHost = {
  readonly server: string;
  readonly terms: Listening["terms"];
  /** How long the server may take to begin or end a subscription, ms, as things are now. */
  timeout(): number;
  /** Waits until it is known what the server speaks; null when that is known. */
  learn(slot: Slot): Promise<void> | null;
  /** The slot of the same key, opened anew if the instance has ended; throws if no instance can be started. */
  reopen(slot: Slot): Slot;
  /** Milliseconds until a new instance may be started; Infinity: it never may. */
  wait(slot: Slot): number;
};

/** A resource that callers have subscribed to. */
type Wish = {
  readonly listeners: Set<Updated>;
  /** The server's first answer to the subscription; callers that join wait for the same one. */
  readonly answer: PromiseWithResolvers<void>;
  /** The server has granted it once: from then on listeners are told if they may have missed updates. */
  held: boolean;
};

/** The resources whose updates one instance sends. */
type Grant = {
  readonly instance: Instance;
  uris: Set<string>;
  /** Ends the listening request of a modern instance. */
  listen: AbortController | null;
};

/** The resources that the callers of one instance want, and those that it grants. */
type Group = {
  /** The object that keeps this group; a server whose options changed hands the group on to its successor. */
  home: Subscriptions;
  slot: Slot;
  readonly wanted: Map<string, Wish>;
  grant: Grant | null;
  /** An attempt is under way; the next begins only after it. */
  busy: boolean;
  /** Something has changed since the last attempt began. */
  stale: boolean;
  retry: Timer | null;
  /** Attempts in a row after which something wanted was not granted. */
  tries: number;
};

const tell = ({ listeners }: Wish, params: string | null): void => {
  for (const listener of listeners) listener(params);
};

/** Whether `uri` names a sub-resource of `above`: it continues that URI, with a delimiter where the two meet. */
const isBelow = (uri: string, above: string): boolean =>
  uri.startsWith(above) && (/[/?#]$/.test(above) || /^[/?#]/.test(uri.slice(above.length)));

/** The server grants a resource; listeners are told if they may have missed updates since an earlier grant. */
function hold({ uris }: Grant, uri: string, wish: Wish): void {
  const missed = wish.held && !uris.has(uri);
  uris.add(uri);
  wish.held = true;
  wish.answer.resolve();
  if (missed) tell(wish, null);
}

/**
 * The server does not grant a resource. False if it did before: then no caller waits for the answer, and it is tried
 * again.
 */
function refuse({ wanted }: Group, uri: string, wish: Wish, error: unknown): boolean {
  if (wish.held) return false;
  if (wanted.get(uri) === wish) wanted.delete(uri);
  wish.answer.reject(error);
  return true;
}

function refuseAll(group: Group, wishes: Iterable<readonly [string, Wish]>, error: unknown): boolean {
  let whole = true;
  for (const [uri, wish] of wishes) whole = refuse(group, uri, wish, error) && whole;
  return whole;
}

/** The instance sends no updates any more. */
function lose(group: Group): void {
  group.grant?.listen?.abort();
  group.grant = null;
}

/**
 * Subscriptions to resources: one for each URI and instance, however many callers share it. Reconciles: whenever what
 * is wanted or granted changes, sends requests until both match. A session or an instance that is lost grants nothing.
 */
export class Subscriptions {
  readonly #host: SubscriptionsHost;
  readonly #groups = new Map<string, Group>();
  /** Where they go on since a reload changed the server. */
  #heir: Subscriptions | null = null;
  #closed = false;

  constructor(host: SubscriptionsHost) {
    this.#host = host;
  }

  get size(): number {
    let sum = 0;
    for (const { wanted } of this.#groups.values()) sum += wanted.size;
    return sum;
  }

  /** Listening requests that are open. */
  get streams(): number {
    return [...this.#groups.values()].filter(({ grant }) => grant?.listen).length;
  }

  /**
   * Subscribes; returns a function that ends the subscription. Throws when the server refuses, and as `Link.request` does.
   */
  async add(call: Call, slot: Slot, uri: string, updated: Updated): Promise<() => void> {
    // A reload may have come between while the instance was started.
    if (this.#heir) return this.#heir.add(call, slot, uri, updated);
    if (this.#closed) throw faults.down(this.#host.server, "it was stopped");
    const known = this.#groups.get(slot.spec.key)?.wanted.get(uri);
    if (!known && this.size >= mostSubscriptions) {
      throw faults.full(this.#host.server, `${mostSubscriptions} resources are subscribed to`);
    }
    const group = this.#groupOf(slot);
    const wish = known ?? { listeners: new Set(), answer: Promise.withResolvers<void>(), held: false };
    group.wanted.set(uri, wish);
    const remove = this.#enlist(group, uri, wish, updated);
    this.#agree(group);
    const { signal } = call.controller;
    const ms = this.#host.timeout();
    const answered = wish.answer.promise.then(() => true);
    if ((await within(answered, ms, signal, () => false)) && !signal.aborted) return remove;
    remove();
    throw signal.aborted ? faults.cancelled() : faults.timeout(this.#host.server, ms);
  }

  /**
   * An instance said that a resource has changed; false when none of its callers subscribed to the resource or one
   * above it.
   */
  updated(slot: Slot, params: string): boolean {
    const { uri } = objectIn(params);
    const wanted = this.#groups.get(slot.spec.key)?.wanted;
    // A longer URI nobody may read, and rules would be held against every character of it.
    if (typeof uri !== "string" || uri.length > longestName || !wanted) return false;
    const about = [...wanted].filter(([one]) => one === uri || isBelow(uri, one));
    for (const [, wish] of about) tell(wish, params);
    return about.length > 0;
  }

  /** The server lost the session to which the subscriptions belonged: they are requested anew. */
  renewed(slot: Slot): void {
    const group = this.#groups.get(slot.spec.key);
    if (group?.slot !== slot) return;
    lose(group);
    this.#agree(group);
  }

  /** The instance has ended: its subscriptions move to the next one. */
  ended(slot: Slot): void {
    const group = this.#groups.get(slot.spec.key);
    if (group?.slot !== slot) return;
    if (slot.until?.aborted) return this.drop(slot.spec.key);
    lose(group);
    this.#agreeSoon(group);
  }

  /** Forgets the subscriptions of an instance that is not wanted any more. */
  drop(key: string): void {
    const group = this.#groups.get(key);
    if (!group) return;
    for (const { answer } of group.wanted.values()) answer.reject(faults.down(this.#host.server, "it was stopped"));
    group.wanted.clear();
    lose(group);
    this.#forget(group);
  }

  /** Takes over the subscriptions of the server that had this id before, on instances of its own. */
  inherit(old: Subscriptions): void {
    old.#heir = this;
    for (const [key, group] of old.#groups) {
      old.#groups.delete(key);
      lose(group);
      group.home = this;
      group.tries = 0;
      this.#groups.set(key, group);
      // If no instance may ever be started, the callers that wait for an answer get their error now.
      if (this.#host.wait(group.slot) === Infinity) this.#agree(group);
      else this.#agreeSoon(group);
    }
  }

  /** Forgets all; no more are taken. */
  close(): void {
    this.#closed = true;
    for (const key of this.#groups.keys()) this.drop(key);
  }

  #groupOf(slot: Slot): Group {
    const { key } = slot.spec;
    let group = this.#groups.get(key);
    if (!group) {
      group = { home: this, slot, wanted: new Map(), grant: null, busy: false, stale: false, retry: null, tries: 0 };
      this.#groups.set(key, group);
    }
    group.slot = slot;
    return group;
  }

  /**
   * Adds a listener; returns a function that removes it. Both outlast the request: made within `add`, they would hold
   * its message in memory.
   */
  #enlist(group: Group, uri: string, wish: Wish, updated: Updated): () => void {
    const listener: Updated = (params) => updated(params);
    wish.listeners.add(listener);
    return () => group.home.#remove(group, uri, wish, listener);
  }

  #remove(group: Group, uri: string, wish: Wish, listener: Updated): void {
    if (!wish.listeners.delete(listener) || wish.listeners.size > 0 || group.wanted.get(uri) !== wish) return;
    group.wanted.delete(uri);
    this.#agree(group);
  }

  #forget(group: Group): void {
    if (group.retry) clearTimeout(group.retry);
    group.retry = null;
    if (this.#groups.get(group.slot.spec.key) !== group) return;
    this.#groups.delete(group.slot.spec.key);
    group.slot.subscriptions = 0;
  }

  // ── reconciling ─────────────────────────────────────────────────────────────────────────────────────────────

  #agree(group: Group): void {
    group.slot.subscriptions = group.wanted.size;
    group.stale = true;
    if (!group.busy) void this.#work(group);
  }

  #agreeSoon(group: Group): void {
    const wait = this.#host.wait(group.slot);
    if (group.wanted.size === 0 || group.retry || wait === Infinity) return;
    const pause = group.tries === 0 ? 0 : pauseBefore(null, group.tries);
    group.tries++;
    const again = (): void => {
      group.retry = null;
      group.home.#agree(group);
    };
    group.retry = setTimeout(again, Math.max(pause, wait)).unref();
  }

  async #work(group: Group): Promise<void> {
    group.busy = true;
    while (group.stale) {
      group.stale = false;
      const whole = await group.home.#step(group).catch((error: unknown) => refuseAll(group, group.wanted, error));
      if (whole) group.tries = 0;
      else group.home.#agreeSoon(group);
    }
    group.busy = false;
    if (group.wanted.size === 0) group.home.#forget(group);
  }

  /** One attempt; false when a resource that was granted before is not granted now. */
  async #step(group: Group): Promise<boolean> {
    if (group.wanted.size > 0) await this.#host.learn(group.slot);
    if (group.home !== this) return group.home.#step(group);
    if (group.wanted.size === 0 && !group.grant) return true;
    if (group.wanted.size > 0) group.slot = this.#host.reopen(group.slot);
    group.slot.subscriptions = group.wanted.size;
    const instance = await group.slot.starting;
    if (group.grant?.instance !== instance) {
      lose(group);
      group.grant = { instance, uris: new Set(), listen: null };
    }
    return instance.peer.era === "modern" ? this.#listen(group, group.grant) : this.#ask(group, group.grant);
  }

  /** Legacy: a request for each change. */
  async #ask(group: Group, grant: Grant): Promise<boolean> {
    const { wanted } = group;
    for (const uri of [...grant.uris].filter((one) => !wanted.has(one))) {
      grant.uris.delete(uri);
      await this.#request(grant, "resources/unsubscribe", uri);
    }
    let whole = true;
    for (const [uri, wish] of wanted) {
      const refused = grant.uris.has(uri) ? null : await this.#request(grant, "resources/subscribe", uri);
      // The grant was lost meanwhile: the next attempt begins with a new one.
      if (group.grant !== grant) return true;
      if (refused) whole = refuse(group, uri, wish, refused) && whole;
      else hold(grant, uri, wish);
    }
    return whole;
  }

  /** Resolves to the reason why the server refuses; null when it does not refuse. */
  async #request({ instance: { link, peer } }: Grant, method: string, uri: string): Promise<Failure | null> {
    try {
      const answer = await query(link, this.#host.terms.host, {
        method,
        peer,
        timeout: this.#host.timeout(),
        params: { uri },
      });
      if (answer.kind === "result") return null;
      const said = `The server "${this.#host.server}" refuses it: ${quoted(answer.message)}`;
      return new Failure("invalid-params", said, { refusal: answer.error });
    } catch (error) {
      return asFailure(error);
    }
  }

  /** Modern: one request that listens to all; the one before ends once the server has acknowledged this one. */
  async #listen(group: Group, grant: Grant): Promise<boolean> {
    const wishes = [...group.wanted];
    const uris = new Set(group.wanted.keys());
    if (uris.symmetricDifference(grant.uris).size > 0) {
      const begun = uris.size > 0 ? await this.#begin(group, grant, uris) : null;
      if (group.grant !== grant) {
        begun?.listen.abort();
        return true;
      }
      grant.listen?.abort();
      grant.listen = begun && this.#watch(group, grant, begun);
      const honoured = begun?.honoured.resourceSubscriptions;
      // The server does not honour what it does not name.
      const told = uris.intersection(new Set<unknown>(Array.isArray(honoured) ? honoured : []));
      grant.uris = grant.uris.intersection(told);
      for (const [uri, wish] of wishes) if (told.has(uri)) hold(grant, uri, wish);
    } else {
      // A wish may be new though its resource is granted: it was wanted again before the server was told that it was not.
      for (const [uri, wish] of wishes) hold(grant, uri, wish);
    }
    const lacking = wishes.filter(([uri]) => !grant.uris.has(uri));
    return refuseAll(group, lacking, this.#silent());
  }

  #begin(group: Group, { instance }: Grant, uris: ReadonlySet<string>): Promise<Begun> {
    const listening: Listening = {
      instance,
      terms: this.#host.terms,
      filter: { resourceSubscriptions: [...uris] },
      missed: () => {
        for (const wish of group.wanted.values()) tell(wish, null);
      },
      heard: (method, params) => {
        if (method === "notifications/resources/updated") group.home.updated(group.slot, params);
      },
    };
    return beginListen(listening, this.#host.timeout(), this.#silent());
  }

  /** Listens anew when the listening request of the grant has ended. */
  #watch(group: Group, grant: Grant, { listen, ended }: Begun): AbortController {
    void ended.then(() => {
      if (group.grant !== grant || grant.listen !== listen) return;
      lose(group);
      group.home.#agreeSoon(group);
    });
    return listen;
  }

  #silent(): Failure {
    return faults.down(this.#host.server, "it does not tell of changes to this resource");
  }
}
