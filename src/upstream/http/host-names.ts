import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { availableParallelism } from "node:os";
import { createBoundedMap } from "../../core/bounded-map.ts";
import { within } from "../../core/wait.ts";
import { StartQueue } from "../start-queue.ts";

/**
 * Bun resolves names in the thread pool that the log's syncs also need. While no resolver answers, each name occupies a
 * thread, even after its request was given up. So if the names exceed half of the threads, they are resolved here
 * before a request, a few at a time, and Bun's own look-up follows a successful one.
 */
const threads = Number(process.env["UV_THREADPOOL_SIZE"]) || availableParallelism();
/** This many names may all occupy a thread. */
const few = Math.floor(threads / 2);
/** Number of names of each kind that are resolved at a time if there are more. */
const places = Math.max(1, Math.floor(threads / 4));
const createQueue = (): StartQueue => new StartQueue({ places, longest: null });
/** Names that resolved last time do not wait for those that did not, which may occupy all their places. */
const queues = { found: createQueue(), doubtful: createQueue() };
/** How long a name counts as resolved, ms. */
const freshMs = 1_000;

/** The names of all servers and proxies so far, including those removed by a reload. */
const names = createBoundedMap<HostName>({ cap: 4_096 });

/** These names are this machine; Bun does not resolve them. */
const localhost = /(^|\.)localhost\.?$/;

/** Returns the name that must be resolved for requests to this server; null if there is none. */
export function hostNameOf({ url, proxy }: { url: string; proxy?: string | undefined }): HostName | null {
  const { hostname } = new URL(proxy ?? url);
  if (hostname.startsWith("[") || isIP(hostname) || localhost.test(hostname)) return null;
  let name = names.get(hostname);
  if (!name) names.set(hostname, (name = new HostName(hostname)));
  return name;
}

/** The host name of a server or proxy. */
export class HostName {
  readonly #name: string;
  #foundAt = -Infinity;
  #isFound = false;
  #search: Promise<void> | null = null;

  constructor(name: string) {
    this.#name = name;
  }

  /** Resolves once a request may be sent, and rejects as `fetch` would; null if it may be sent immediately. */
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
