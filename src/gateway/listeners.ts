import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";
import type { Catalog } from "../core/ports.ts";

/**
 * Maximum numbers of listeners, in total and per principal; and per principal, of subscribed resources and of
 * characters of requests, which stay in memory while it listens.
 */
export const listenLimits = { total: 10_000, perOwner: 64, uris: 1_000, characters: 8 * 1024 ** 2 } as const;

/** One open `subscriptions/listen`. */
export type OpenListen = {
  /** Principal id. */
  readonly owner: string;
  readonly scope: string | null;
  /** The servers with resources or tasks in this request. */
  readonly servers: ReadonlySet<string>;
  /** Whether it follows tasks, which a replaced server no longer knows. */
  readonly tasks: boolean;
  /** Ends it with a result, which tells the client to listen again. */
  readonly end: () => void;
};

/** The parts of a configuration that decide whether a listener may stay. */
type Serving = {
  readonly serves: ReadonlySet<string>;
  /** Servers that the reload did not replace. */
  readonly keeps: ReadonlySet<string>;
  readonly hasScope: Catalog["hasScope"];
};

/** All listening clients of this process across reloads, limited per principal and in total. */
export class Listeners {
  readonly #open = new Set<OpenListen>();
  readonly #perOwner = new Counts();
  readonly #uris = new Counts();
  readonly #characters = new Counts();

  get size(): number {
    return this.#open.size;
  }

  get uris(): number {
    return this.#uris.total;
  }

  /** Takes a place. Returns a function that gives it back. Throws `overloaded`. */
  open(listening: OpenListen): () => void {
    const { total, perOwner } = listenLimits;
    if (this.#open.size >= total) throw full(`All ${total} places for listeners are taken`);
    const { owner } = listening;
    if (this.#perOwner.of(owner) >= perOwner) throw full(`You already have ${perOwner} open listeners`);
    this.#open.add(listening);
    this.#perOwner.add(owner);
    return () => {
      if (this.#open.delete(listening)) this.#perOwner.add(owner, -1);
    };
  }

  /**
   * Reserves a number of subscriptions for a principal, and memory for its request. Returns a function that gives them
   * back, to be called once. Throws `overloaded`.
   */
  take(owner: string, count: number, length: number): () => void {
    const { uris, characters } = listenLimits;
    if (this.#uris.of(owner) + count > uris) throw full(`You can subscribe to no more than ${uris} resources`);
    if (this.#characters.of(owner) + length > characters)
      throw full(`Your requests to listen have more than ${characters} characters`);
    this.#uris.add(owner, count);
    this.#characters.add(owner, length);
    return () => {
      this.#uris.add(owner, -count);
      this.#characters.add(owner, -length);
    };
  }

  /** Ends the listeners that a new configuration does not serve. */
  endUnserved({ serves, keeps, hasScope }: Serving): void {
    for (const { scope, servers, tasks, end } of this.#open) {
      const there = tasks ? keeps : serves;
      const served = [...servers].every((server) => there.has(server));
      // A scope is checked for a task's tool only when listening starts, so a listener with tasks in a scope ends.
      const scoped = scope === null || (!tasks && hasScope(scope));
      if (!served || !scoped) end();
    }
  }

  endAll(): void {
    for (const { end } of this.#open) end();
  }
}

const full = (what: string): Failure => new Failure("overloaded", `${what}; end some listeners or subscriptions.`);
