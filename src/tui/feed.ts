import type { Client } from "../control/contract.ts";
import type { AuditEntry, ConsumerView, StatusView } from "../control/schemas.ts";
import { stayConnected } from "../control/stay-connected.ts";
import { messageOf } from "../core/error-text.ts";
import type { ServerStatus } from "../core/upstream.ts";
import { sleep } from "../core/wait.ts";
import { merge } from "./records.ts";

/** What the screens show. */
export type View = {
  readonly link: "connecting" | "live" | "lost";
  /** Why there is no link; null while there is one. */
  readonly trouble: string | null;
  /** Whether the gateway takes calls; null until it has said so over this link. */
  readonly gateway: Pick<StatusView, "frozen" | "notReady"> | null;
  readonly records: readonly AuditEntry[];
  /** Records missed because this console was too slow. */
  readonly missed: number;
  readonly servers: readonly ServerStatus[];
  readonly consumers: readonly ConsumerView[];
};

export type FeedOptions = {
  readonly open: () => Promise<Client>;
  /** Time between two looks at the gateway, its servers and consumers, ms. */
  readonly every?: number;
  /** As for `stayConnected`. */
  readonly retry?: number;
};

const maxRecords = 1_000;
const history = 200;
/** Events within this time, ms, are drawn together. */
const frame = 50;

const first: View = {
  link: "connecting",
  trouble: null,
  gateway: null,
  records: [],
  missed: 0,
  servers: [],
  consumers: [],
};

/** Keeps a view of the gateway up to date, through restarts of the daemon, until closed. */
export class Feed {
  readonly #every: number;
  readonly #listeners = new Set<() => void>();
  readonly #ended = new AbortController();
  #view = first;
  #client: Client | null = null;
  #timer: Timer | null = null;

  constructor({ open, every = 2_000, retry }: FeedOptions) {
    this.#every = every;
    void stayConnected({
      open,
      use: (client, live) => this.#use(client, live),
      lost: (error) => this.#set({ link: "lost", trouble: messageOf(error) }),
      signal: this.#ended.signal,
      retry,
    });
  }

  readonly view = (): View => this.#view;

  /** Returns the way to stop listening. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The connection to ask for one thing; null while there is none. */
  get client(): Client | null {
    return this.#client;
  }

  close(): void {
    this.#ended.abort();
    if (this.#timer) clearTimeout(this.#timer);
    this.#listeners.clear();
  }

  #set(change: Partial<View>): void {
    this.#view = { ...this.#view, ...change };
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      for (const listener of this.#listeners) listener();
    }, frame);
  }

  #add(records: readonly AuditEntry[]): void {
    this.#set({ records: merge(this.#view.records, records, maxRecords) });
  }

  /** One connection, until it or this feed ends. */
  async #use(client: Client, live: () => void): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([this.#ended.signal, over.signal]);
    this.#client = client;
    this.#set({ gateway: null });
    try {
      await Promise.race([this.#look(client, signal), this.#follow(client, live, signal)]);
    } finally {
      over.abort();
      this.#client = null;
    }
  }

  async #look(client: Client, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { servers, frozen, notReady } = await client.call("status", {});
      this.#set({ servers, gateway: { frozen, notReady } });
      this.#set(await client.call("consumers", {}));
      await sleep(this.#every, signal);
    }
  }

  async #follow(client: Client, live: () => void, signal: AbortSignal): Promise<void> {
    const stream = client.stream("tail", {}, signal)[Symbol.asyncIterator]();
    // Asked for after the stream began, so that no record is lost in between; a record in both counts once.
    const next = stream.next();
    next.catch(() => {});
    const { records } = await client.call("audit.log", { limit: history });
    live();
    this.#set({ link: "live", trouble: null });
    this.#add(records);
    for (let step = await next; !step.done; step = await stream.next()) {
      if ("gap" in step.value) this.#set({ missed: this.#view.missed + step.value.gap });
      else this.#add([step.value]);
    }
    throw new Error("the daemon ended the stream");
  }
}
