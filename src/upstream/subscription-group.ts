import type { Party } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Era } from "../core/inbound.ts";
import { objectIn } from "../core/json.ts";
import { maxNameLength } from "../core/name.ts";
import type { Updated } from "../core/ports.ts";
import { pauseBefore } from "./backoff.ts";
import { faults, quoted } from "./faults.ts";
import type { Need, Slot } from "./instances/pool.ts";
import type { Instance } from "./link/link.ts";
import { beginListen, type Begun, type Listening } from "./link/listen.ts";
import { query } from "./link/query.ts";

/** What subscriptions need from their server. */
export type SubscriptionsHost = {
  readonly server: string;
  readonly clock: Clock;
  /** How long the server may take to begin or end a subscription, ms; current value. */
  timeout(): number;
  /** Resolves once it is known which eras the server speaks; null if that is known. */
  learn(era: Era): Promise<void> | null;
  /** The instance that the calls of a party need at the moment. */
  need(party: Party): Need;
  /** Returns the slot of the instance, and opens it again if the instance has ended; throws if it cannot be started. */
  open(need: Need): Slot;
  /** Milliseconds until a new instance may be started; Infinity: never. */
  wait(need: Need): number;
};

/** What a group needs. */
export type GroupHost = SubscriptionsHost & {
  groupOf(need: Need): SubscriptionGroup;
  /** Called when nothing in the group is wanted. */
  emptied(group: SubscriptionGroup): void;
};

/** One subscription of a client. */
export type Listener = {
  readonly party: Party;
  readonly client: object;
  readonly updated: Updated;
  /** The server's first answer to the subscription. */
  readonly answer: PromiseWithResolvers<void>;
  /** Removes the listener from its present group; `end` does so too, after a reload has moved it to another group. */
  leave: () => void;
  readonly end: () => void;
};

/** A resource that callers have subscribed to. */
type Wish = {
  readonly listeners: Set<Listener>;
  /** Whether the server has granted it once; from then on listeners are notified if they may have missed updates. */
  held: boolean;
};

/** The resources whose updates one instance sends, with the host at the time of the request. */
type Grant = {
  readonly instance: Instance;
  readonly host: GroupHost;
  uris: Set<string>;
  /** Ends the listening request of a modern instance. */
  listen: AbortController | null;
};

const tell = ({ listeners }: Wish, params: string | null): void => {
  for (const { updated } of listeners) updated(params);
};

/** Reports whether `uri` is a sub-resource of `above`: it continues that URI with a delimiter where they meet. */
const isBelow = (uri: string, above: string): boolean =>
  uri.startsWith(above) && (/[/?#]$/.test(above) || /^[/?#]/.test(uri.slice(above.length)));

/** Records a grant; listeners are notified if they may have missed updates since an earlier grant. */
function hold({ uris }: Grant, uri: string, wish: Wish): void {
  const missed = wish.held && !uris.has(uri);
  uris.add(uri);
  wish.held = true;
  for (const { answer } of wish.listeners) answer.resolve();
  if (missed) tell(wish, null);
}

/** Sends a request and resolves to the failure if the server refuses; null if it agrees. */
async function request({ instance, host }: Grant, method: string, uri: string): Promise<Failure | null> {
  const { link, peer } = instance;
  try {
    const timeout = host.timeout();
    const answer = await query(link, { method, peer, timeout, params: { uri } });
    if (answer.kind === "result") return null;
    const said = `The server "${host.server}" refused the subscription: ${quoted(answer.message, link.host.secrets())}`;
    return new Failure("invalid-params", said, { refusal: answer.error });
  } catch (error) {
    return asFailure(error);
  }
}

const silent = ({ server }: GroupHost): Failure => faults.down(server, "it does not announce changes to this resource");

/**
 * The resources that the callers of one instance want, and those that it grants. Reconciles the two: whenever either
 * changes, sends requests until they match. A lost session or instance grants nothing.
 */
export class SubscriptionGroup {
  /** The instance at which the listeners subscribe. */
  readonly need: Need;
  /** The slot of the last subscription; null: none yet. */
  slot: Slot | null = null;
  #host: GroupHost;
  readonly #wanted = new Map<string, Wish>();
  #grant: Grant | null = null;
  /** Whether an attempt is running; the next one begins only after it. */
  #busy = false;
  /** Whether something has changed since the last attempt began. */
  #stale = false;
  #retry: Timer | undefined;
  /** The number of consecutive attempts that left something wanted ungranted. */
  #tries = 0;

  constructor(host: GroupHost, { spec, until }: Need) {
    this.#host = host;
    this.need = { spec, until };
  }

  get size(): number {
    return this.#wanted.size;
  }

  /** Whether a listening request is open. */
  get listens(): boolean {
    return Boolean(this.#grant?.listen);
  }

  wants(uri: string): boolean {
    return this.#wanted.has(uri);
  }

  /**
   * Adds a client's subscription; `held`: a server has granted it before. Closures are created here rather than in the
   * caller's request, because they outlive the request and would keep its message in memory.
   */
  add(uri: string, listener: Listener, held = false): void {
    const wish = this.#wanted.get(uri) ?? { listeners: new Set(), held };
    this.#wanted.set(uri, wish);
    wish.listeners.add(listener);
    listener.leave = () => this.#remove(uri, wish, listener);
    wish.held ||= held;
    if (wish.held) for (const { answer } of wish.listeners) answer.resolve();
    if (held && this.#grant?.uris.has(uri)) listener.updated(null);
    this.reconcile();
  }

  #remove(uri: string, wish: Wish, listener: Listener): void {
    if (!wish.listeners.delete(listener) || wish.listeners.size > 0 || this.#wanted.get(uri) !== wish) return;
    this.#wanted.delete(uri);
    this.reconcile();
  }

  /** Handles a changed resource; returns false if no caller subscribed to it or to one above it. */
  updated(params: string): boolean {
    const { uri } = objectIn(params);
    // Nobody can read a longer URI, and rules would be matched against every character of it.
    if (typeof uri !== "string" || uri.length > maxNameLength) return false;
    const about = [...this.#wanted].filter(([one]) => one === uri || isBelow(uri, one));
    // A client is notified once, however many resources above the URI it subscribed to, because each notification is
    // checked against the rules.
    const told = new Set<object>();
    for (const [one, { listeners }] of about.toSorted(([a], [b]) => b.length - a.length)) {
      for (const { client, updated } of listeners) {
        if (one !== uri && told.has(client)) continue;
        told.add(client);
        updated(params);
      }
    }
    return about.length > 0;
  }

  /** The instance no longer sends updates. */
  lose(): void {
    this.#grant?.listen?.abort();
    this.#grant = null;
  }

  /** Subscribes again in the instance's new session: at once, or later if the session was lost during an attempt. */
  renewed(): void {
    this.lose();
    if (this.#busy) return this.reconcileSoon();
    this.#tries ||= 1;
    this.reconcile();
  }

  /** Continues at the server that replaced the present one. */
  moveTo(host: GroupHost): void {
    this.lose();
    this.#host = host;
    this.#tries = 0;
    // If no instance can ever be started, waiting callers get their error now.
    if (host.wait(this.need) === Infinity) this.reconcile();
    else this.reconcileSoon();
  }

  /** Ends all subscriptions; callers that wait for an answer get this failure. */
  end(failure: Failure): void {
    for (const { listeners } of this.#wanted.values()) for (const { answer } of listeners) answer.reject(failure);
    this.#wanted.clear();
    this.#empty();
  }

  #empty(): void {
    // A server may have agreed to listen without granting anything that was wanted.
    this.lose();
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#host.emptied(this);
  }

  reconcile(): void {
    if (this.slot) this.slot.usedAt = this.#host.clock.mono();
    this.#stale = true;
    if (!this.#busy) void this.#work();
  }

  /** Reconciles once an instance may be started, with a longer pause after each failed attempt. */
  reconcileSoon(): void {
    const wait = this.#host.wait(this.need);
    if (this.#wanted.size === 0 || this.#retry || wait === Infinity) return;
    const pause = this.#tries === 0 ? 0 : pauseBefore(null, this.#tries);
    this.#tries++;
    const again = (): void => {
      this.#retry = undefined;
      this.reconcile();
    };
    this.#retry = setTimeout(again, Math.max(pause, wait)).unref();
  }

  async #work(): Promise<void> {
    this.#busy = true;
    while (this.#stale) {
      this.#stale = false;
      let failed = false;
      // Anything added from here on is left to the next attempt.
      const wishes = [...this.#wanted];
      await this.#attempt().catch((error: unknown) => {
        failed = true;
        this.#refuse(wishes, error);
      });
      if (this.#stale) continue;
      const lacks = [...this.#wanted].some(([uri, { held }]) => held && (failed || !this.#grant?.uris.has(uri)));
      if (lacks) this.reconcileSoon();
      else this.#tries = 0;
    }
    this.#busy = false;
    if (this.#wanted.size === 0) this.#empty();
  }

  async #attempt(): Promise<void> {
    const host = this.#host;
    if (this.#wanted.size > 0) await host.learn(this.#era);
    if (this.#host !== host) return this.#attempt();
    if (!this.#grant) this.#regroup();
    const slot = this.#wanted.size > 0 ? host.open(this.need) : this.#grant && this.slot;
    if (!slot) return;
    this.slot = slot;
    const instance = await slot.starting;
    if (this.#host !== host) return this.#attempt();
    if (this.#grant?.instance !== instance) {
      this.lose();
      this.#grant = { instance, host, uris: new Set(), listen: null };
    }
    return instance.peer.era === "modern" ? this.#listen(this.#grant) : this.#ask(this.#grant);
  }

  /** The era of the listeners; legacy if there are both, because that requires knowing more about the server. */
  get #era(): Era {
    for (const { listeners } of this.#wanted.values())
      for (const { party } of listeners) if (party.inbound.era === "legacy") return "legacy";
    return "modern";
  }

  /** Moves listeners whose calls reach another instance by now: a reload may have changed isolation or era. */
  #regroup(): void {
    const host = this.#host;
    for (const [uri, { listeners, held }] of this.#wanted) {
      for (const listener of listeners) {
        const need = host.need(listener.party);
        if (need.spec.key === this.need.spec.key) continue;
        listener.leave();
        host.groupOf(need).add(uri, listener, held);
      }
    }
  }

  /** Legacy: sends one request per change. */
  async #ask(grant: Grant): Promise<void> {
    for (const uri of [...grant.uris].filter((one) => !this.#wanted.has(one))) {
      grant.uris.delete(uri);
      await request(grant, "resources/unsubscribe", uri);
    }
    // A server may lose its session with each refusal, so subscriptions that a caller waits for are requested first.
    for (const [uri, wish] of [...this.#wanted].toSorted(([, a], [, b]) => Number(a.held) - Number(b.held))) {
      // Its callers have left in the meantime.
      if (this.#wanted.get(uri) !== wish) continue;
      const refused = grant.uris.has(uri) ? null : await request(grant, "resources/subscribe", uri);
      const isLost = this.#grant !== grant;
      // The answer also holds if the session was lost: the request was repeated in the session that replaced it.
      const isAnswer = !isLost || (this.#host === grant.host && !grant.instance.link.over);
      if (isAnswer && refused) this.#refuse([[uri, wish]], refused);
      else if (isAnswer) hold(grant, uri, wish);
      // The next attempt begins with a new grant.
      if (isLost) return;
    }
  }

  /** Modern: one request listens to all resources; the previous one ends once the server has acknowledged this one. */
  async #listen(grant: Grant): Promise<void> {
    const wishes = [...this.#wanted];
    const uris = new Set(this.#wanted.keys());
    let named: ReadonlySet<string> = uris;
    if (uris.symmetricDifference(grant.uris).size > 0) {
      const begun = uris.size > 0 ? await this.#begin(grant, uris) : null;
      if (this.#grant !== grant) {
        begun?.listen.abort();
        return;
      }
      grant.listen?.abort();
      grant.listen = begun && this.#watch(grant, begun);
      const honoured = begun?.honoured.resourceSubscriptions;
      // The server does not grant what it does not name.
      named = uris.intersection(new Set<unknown>(Array.isArray(honoured) ? honoured : []));
      grant.uris = grant.uris.intersection(named);
    }
    // A wish can be new although its resource is granted: it was wanted again before the server was told to drop it.
    for (const [uri, wish] of wishes) if (named.has(uri)) hold(grant, uri, wish);
    const lacking = wishes.filter(([uri]) => !named.has(uri));
    this.#refuse(lacking, silent(grant.host));
  }

  #begin({ instance, host }: Grant, uris: ReadonlySet<string>): Promise<Begun> {
    const listening: Listening = {
      instance,
      filter: { resourceSubscriptions: [...uris] },
      missed: () => {
        for (const wish of this.#wanted.values()) tell(wish, null);
      },
      heard: (method, params) => {
        if (method === "notifications/resources/updated") this.updated(params);
      },
    };
    return beginListen(listening, host.timeout(), silent(host));
  }

  /** Listens again when the listening request of the grant has ended. */
  #watch(grant: Grant, { listen, ended }: Begun): AbortController {
    void ended.then(() => {
      if (this.#grant !== grant || grant.listen !== listen) return;
      this.lose();
      this.reconcileSoon();
    });
    return listen;
  }

  /** Rejects wishes that the server does not grant. No caller waits for those that were granted before. */
  #refuse(wishes: Iterable<readonly [string, Wish]>, error: unknown): void {
    for (const [uri, wish] of wishes) {
      if (wish.held) continue;
      if (this.#wanted.get(uri) === wish) this.#wanted.delete(uri);
      for (const { answer } of wish.listeners) answer.reject(error);
    }
  }
}
