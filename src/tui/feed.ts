import type { Client } from "../control/contract.ts";
import type { AuditEntry, ConsumerView, StatusView } from "../control/schemas.ts";
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
  /** Time before the first attempt to reconnect, ms; it doubles up to 2 s. */
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
  readonly #options: Required<FeedOptions>;
  readonly #listeners = new Set<() => void>();
  readonly #ended = new AbortController();
  #view = first;
  #client: Client | null = null;
  #timer: Timer | null = null;

  constructor({ open, every = 2_000, retry = 250 }: FeedOptions) {
    this.#options = { open, every, retry };
    void this.#run();
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

  async #run(): Promise<void> {
    const { retry } = this.#options;
    for (let wait = retry; !this.#ended.signal.aborted; wait = Math.min(wait * 2, 2_000)) {
      try {
        await this.#session();
        this.#set({ link: "lost", trouble: "the daemon ended the stream" });
      } catch (error) {
        if (this.#view.link === "live") wait = retry;
        this.#set({ link: "lost", trouble: messageOf(error) });
      }
      await sleep(wait, this.#ended.signal);
    }
  }

  /** One connection, until it or this feed ends. */
  async #session(): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([this.#ended.signal, over.signal]);
    try {
      const client = (this.#client = await this.#options.open());
      this.#set({ gateway: null });
      await Promise.race([this.#look(client, signal), this.#follow(client, signal)]);
    } finally {
      over.abort();
      this.#client?.close();
      this.#client = null;
    }
  }

  async #look(client: Client, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { servers, frozen, notReady } = await client.call("status", {});
      this.#set({ servers, gateway: { frozen, notReady } });
      this.#set(await client.call("consumers", {}));
      await sleep(this.#options.every, signal);
    }
  }

  async #follow(client: Client, signal: AbortSignal): Promise<void> {
    const stream = client.stream("tail", {}, signal)[Symbol.asyncIterator]();
    // Asked for after the stream began, so that no record is lost in between; a record in both counts once.
    const next = stream.next();
    next.catch(() => {});
    const { records } = await client.call("audit.log", { limit: history });
    this.#set({ link: "live", trouble: null });
    this.#add(records);
    for (let step = await next; !step.done; step = await stream.next()) {
      if ("gap" in step.value) this.#set({ missed: this.#view.missed + step.value.gap });
      else this.#add([step.value]);
    }
  }
}
