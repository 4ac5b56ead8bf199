import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { availableParallelism } from "node:os";
import { createBoundedMap } from "../../core/bounded-map.ts";
import { within } from "../../core/wait.ts";
import { StartQueue } from "../start-queue.ts";

/**
 * Bun looks a name up in a thread of the pool that the log's syncs need too, and while no resolver answers each name
 * holds one, also after its request was given up. So where names are more than half of the threads, a name is looked up
 * here before a request to it, a few at once, and Bun's own look-up follows one that was just answered.
 */
const threads = Number(process.env["UV_THREADPOOL_SIZE"]) || availableParallelism();
/** As many names may all hold a thread. */
const few = Math.floor(threads / 2);
/** How many of each kind are looked up at once where there are more. */
const places = Math.max(1, Math.floor(threads / 4));
const createQueue = (): StartQueue => new StartQueue({ places, longest: null });
/** Names that were found last do not wait for those that were not, which may hold all their places. */
const queues = { found: createQueue(), doubtful: createQueue() };
/** How long a name counts as found, ms. */
const freshMs = 1_000;

/** The names of servers and proxies so far, also of those that a reload has removed. */
const names = createBoundedMap<HostName>({ cap: 4_096 });

/** These are this machine, and Bun looks them up nowhere. */
const localhost = /(^|\.)localhost\.?$/;

/** The name that requests to this server need looked up; null where there is none. */
export function hostNameOf({ url, proxy }: { url: string; proxy?: string | undefined }): HostName | null {
  const { hostname } = new URL(proxy ?? url);
  if (hostname.startsWith("[") || isIP(hostname) || localhost.test(hostname)) return null;
  let name = names.get(hostname);
  if (!name) names.set(hostname, (name = new HostName(hostname)));
  return name;
}

/** A name that a server or a proxy is reached by. */
export class HostName {
  readonly #name: string;
  #foundAt = -Infinity;
  #isFound = false;
  #search: Promise<void> | null = null;

  constructor(name: string) {
    this.#name = name;
  }

  /** Resolves once a request may be sent, and rejects as `fetch` would; null: it may be sent at once. */
  awaited(signal: AbortSignal | null | undefined): Promise<void> | null {
    if (names.size <= few || performance.now() < this.#foundAt + freshMs) return null;
    this.#search ??= queues[this.#isFound ? "found" : "doubtful"]
      .add(() => this.#find())
      .finally(() => (this.#search = null));
    return within(this.#search, null, signal ?? null, () => signal?.throwIfAborted());
  }

  async #find(): Promise<void> {
    this.#isFound = false;
    await lookup(this.#name);
    this.#isFound = true;
    this.#foundAt = performance.now();
  }
}
