import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";
import type { Catalog } from "../core/ports.ts";

/**
 * Most listeners, in all and of one principal; the resources that one principal may be subscribed to, and the
 * characters of what it asked for that are held in memory for as long as it listens.
 */
export const listenLimits = { total: 10_000, perOwner: 64, uris: 1_000, characters: 8 * 1024 ** 2 } as const;

/** One open `subscriptions/listen`. */
export type OpenListen = {
  /** Principal id. */
  readonly owner: string;
  readonly scope: string | null;
  /** The servers whose resources or tasks are listened to. */
  readonly servers: ReadonlySet<string>;
  /** Whether it follows tasks; a replaced server no longer knows them. */
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

/** All listening clients of this process, also across reloads; limited per principal and in total. */
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

  /** Takes a place. Returns the way to leave. Throws `overloaded`. */
  open(listening: OpenListen): () => void {
    const { total, perOwner } = listenLimits;
    if (this.#open.size >= total) throw full(`All ${total} places for listeners are taken`);
    const { owner } = listening;
    if (this.#perOwner.of(owner) >= perOwner) throw full(`You listen ${perOwner} times already`);
    this.#open.add(listening);
    this.#perOwner.add(owner);
    return () => {
      if (this.#open.delete(listening)) this.#perOwner.add(owner, -1);
    };
  }

  /**
   * Reserves a number of subscriptions for a principal, and room for what it wrote to ask for them. Returns the way to
   * give them back, to be called once. Throws `overloaded`.
   */
  take(owner: string, count: number, length: number): () => void {
    const { uris, characters } = listenLimits;
    if (this.#uris.of(owner) + count > uris) throw full(`No more than ${uris} resources can be subscribed to`);
    if (this.#characters.of(owner) + length > characters)
      throw full(`What you listen to has more than ${characters} characters`);
    this.#uris.add(owner, count);
    this.#characters.add(owner, length);
    return () => {
      this.#uris.add(owner, -count);
      this.#characters.add(owner, -length);
    };
  }

  /** Ends the listeners that a configuration which comes into force does not serve. */
  endUnserved({ serves, keeps, hasScope }: Serving): void {
    for (const { scope, servers, tasks, end } of this.#open) {
      const there = tasks ? keeps : serves;
      const served = [...servers].every((server) => there.has(server));
      // Whether a scope contains a task's tool is only checked when a client starts to listen, so that listener is
      // ended.
      const scoped = scope === null || (!tasks && hasScope(scope));
      if (!served || !scoped) end();
    }
  }

  endAll(): void {
    for (const { end } of this.#open) end();
  }
}

const full = (what: string): Failure => new Failure("overloaded", `${what}; end some of what you listen to.`);
