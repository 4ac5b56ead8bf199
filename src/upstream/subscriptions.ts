import type { IdentifiedCall } from "../core/call.ts";
import type { Updated } from "../core/ports.ts";
import { within } from "../core/wait.ts";
import { faults } from "./faults.ts";
import type { Need, Slot } from "./instances/pool.ts";
import { type GroupHost, type Listener, SubscriptionGroup, type SubscriptionsHost } from "./subscription-group.ts";

/** Maximum subscribed resources at one server, since each costs it something: four times one principal's limit. */
export const maxSubscriptions = 4_096;

/** Creates the listener of a call. It outlives the request, so it keeps only the caller's identity. */
function listenerOf({ who, session, capabilities, inbound, controller }: IdentifiedCall, updated: Updated): Listener {
  const party = { who, session, capabilities, inbound: { era: inbound.era } };
  const client = session ?? controller;
  const answer = Promise.withResolvers<void>();
  const listener: Listener = { party, client, updated, answer, leave: () => {}, end: () => listener.leave() };
  return listener;
}

/** Subscriptions to resources: one for each URI and instance, however many callers share it. */
export class Subscriptions {
  readonly #host: GroupHost;
  readonly #groups = new Map<string, SubscriptionGroup>();
  /** Where the subscriptions continue since a reload changed the server. */
  #heir: Subscriptions | null = null;
  #closed = false;

  constructor(host: SubscriptionsHost) {
    this.#host = { ...host, groupOf: (need) => this.#groupOf(need), emptied: (group) => this.#forget(group) };
  }

  get size(): number {
    let sum = 0;
    for (const group of this.#groups.values()) sum += group.size;
    return sum;
  }

  /** Reports whether anything is subscribed to at the instance of a key. */
  has(key: string): boolean {
    return (this.#groups.get(key)?.size ?? 0) > 0;
  }

  get streams(): number {
    return [...this.#groups.values()].filter(({ listens }) => listens).length;
  }

  /** Subscribes and returns a function to end it; throws if the server refuses, and as `Link.request` does. */
  async add(call: IdentifiedCall, slot: Slot, uri: string, updated: Updated): Promise<() => void> {
    // A reload may have happened while the instance was started.
    if (this.#heir) return this.#heir.add(call, slot, uri, updated);
    const { server } = this.#host;
    // The caller's session may have ended in the meantime; nothing would end another instance started for it.
    if (call.controller.signal.aborted) throw faults.cancelled();
    if (this.#closed) throw faults.down(server, "it was stopped");
    if (!this.#groups.get(slot.spec.key)?.wants(uri) && this.size >= maxSubscriptions) {
      throw faults.full(server, `${maxSubscriptions} resources are already subscribed to`);
    }
    const { signal } = call.controller;
    const listener = listenerOf(call, updated);
    const group = this.#groupOf(slot);
    group.slot = slot;
    group.add(uri, listener);
    const ms = this.#host.timeout();
    const answered = listener.answer.promise.then(() => true);
    if ((await within(answered, ms, signal, () => false)) && !signal.aborted) return listener.end;
    listener.leave();
    throw signal.aborted ? faults.cancelled() : faults.timeout(server, ms);
  }

  /** Handles a changed resource; returns false if no caller subscribed to the resource or one above it. */
  updated(slot: Slot, params: string): boolean {
    return this.#groups.get(slot.spec.key)?.updated(params) ?? false;
  }

  /** The server lost the session of the subscriptions: requests them again. */
  renewed(slot: Slot): void {
    const group = this.#groups.get(slot.spec.key);
    if (group?.slot !== slot) return;
    group.renewed();
  }

  /** The instance has ended: moves its subscriptions to the next one. */
  ended(slot: Slot): void {
    const group = this.#groups.get(slot.spec.key);
    if (group?.slot !== slot) return;
    if (slot.until?.aborted) return this.drop(slot.spec.key);
    group.lose();
    group.reconcileSoon();
  }

  /** Ends the subscriptions of an instance that is no longer wanted. */
  drop(key: string): void {
    this.#groups.get(key)?.end(faults.down(this.#host.server, "it was stopped"));
  }

  /** Takes over the subscriptions of the previous server of this id, on instances of its own. */
  inherit(old: Subscriptions): void {
    old.#heir = this;
    for (const [key, group] of old.#groups) {
      old.#groups.delete(key);
      this.#groups.set(key, group);
      group.moveTo(this.#host);
    }
  }

  /** Ends all subscriptions and accepts no more. */
  close(): void {
    this.#closed = true;
    for (const key of this.#groups.keys()) this.drop(key);
  }

  #groupOf(need: Need): SubscriptionGroup {
    return this.#groups.getOrInsertComputed(need.spec.key, () => new SubscriptionGroup(this.#host, need));
  }

  #forget(group: SubscriptionGroup): void {
    const { key } = group.need.spec;
    if (this.#groups.get(key) === group) this.#groups.delete(key);
  }
}
