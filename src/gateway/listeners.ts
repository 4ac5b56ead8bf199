import type { Route } from "../core/call.ts";
import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";
import type { Principal, Source } from "../core/principal.ts";

export type ListenLimits = { readonly total: number; readonly perOwner: number; readonly uris: number };

const usual: ListenLimits = { total: 10_000, perOwner: 64, uris: 1_000 };

/** One open `subscriptions/listen`. */
export type Listening = {
  /** Principal id. */
  readonly owner: string;
  readonly scope: string | null;
  /** Servers whose resources or tasks it is about. */
  readonly servers: ReadonlySet<string>;
  /** Follows tasks, which a server that is replaced does not know. */
  readonly tasks: boolean;
  /** Ends it in order: its client is told to listen anew. */
  readonly end: () => void;
};

/** What of the configuration in force decides whether somebody may go on listening. */
export type InForce = {
  readonly serves: ReadonlySet<string>;
  /** Servers that go on as they were. */
  readonly keeps: ReadonlySet<string>;
  readonly hasScope: (scope: string) => boolean;
  readonly allows: (who: Principal, route: Route, source: Source) => boolean;
};

/** Who listens to what in this process, over all reloads; bounded per principal and in all. */
export class Listeners {
  readonly #open = new Set<Listening>();
  readonly #perOwner = new Counts();
  readonly #uris = new Counts();
  readonly #limits: ListenLimits;
  #inForce: InForce = { serves: new Set(), keeps: new Set(), hasScope: () => false, allows: () => false };

  constructor(limits: ListenLimits = usual) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Resources that are subscribed to, by whomever. */
  get uris(): number {
    return this.#uris.total;
  }

  /** Whether a caller may be told of a resource, as the rules are now. */
  allows(who: Principal, route: Route, source: Source): boolean {
    return this.#inForce.allows(who, route, source);
  }

  /** Takes a place. Returns the way to leave. Throws `overloaded`. */
  open(listening: Listening): () => void {
    const { total, perOwner } = this.#limits;
    if (this.#open.size >= total) throw full(`All ${total} places for listeners are taken`);
    const { owner } = listening;
    if (this.#perOwner.of(owner) >= perOwner) throw full(`You listen ${perOwner} times already`);
    this.#open.add(listening);
    this.#perOwner.add(owner);
    return () => {
      if (this.#open.delete(listening)) this.#perOwner.add(owner, -1);
    };
  }

  /** Counts resources that a principal subscribes to. Returns the way to give them back, to be called once. */
  take(owner: string, count: number): () => void {
    if (this.#uris.of(owner) + count > this.#limits.uris)
      throw full(`No more than ${this.#limits.uris} resources can be subscribed to`);
    this.#uris.add(owner, count);
    return () => this.#uris.add(owner, -count);
  }

  /** From now on these rules hold; whoever listened to what is gone is told to listen anew. */
  putInForce(inForce: InForce): void {
    this.#inForce = inForce;
    for (const { scope, servers, tasks, end } of this.#open) {
      const there = tasks ? inForce.keeps : inForce.serves;
      const served = [...servers].every((server) => there.has(server));
      // Whether a scope still has a task's tool is only known when one listens.
      const scoped = scope === null || (!tasks && inForce.hasScope(scope));
      if (!served || !scoped) end();
    }
  }

  endAll(): void {
    for (const { end } of this.#open) end();
  }
}

const full = (what: string): Failure => new Failure("overloaded", `${what}; end some of what you listen to.`);
