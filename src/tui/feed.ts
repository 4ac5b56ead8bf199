import type { Answer, CallName, Input } from "../control/api.ts";
import type { Client } from "../control/contract.ts";
import { Unanswered } from "../control/refusal.ts";
import type { AuditEntry, ConsumerView } from "../control/schemas.ts";
import { stayConnected } from "../control/stay-connected.ts";
import { messageOf } from "../core/error-text.ts";
import type { ServerStatus } from "../core/upstream.ts";
import { sleep, within } from "../core/wait.ts";
import { merge } from "./records.ts";

export type View = {
  readonly link: "connecting" | "live" | "lost" | "silent";
  /** Why there is no connection; null while there is one. */
  readonly trouble: string | null;
  /** When the gateway last answered, epoch ms; null if it never has. */
  readonly heard: number | null;
  /** Whether the gateway accepts calls; null until it has reported that on this connection. */
  readonly gateway: Pick<Answer<"status">, "frozen" | "notReady"> | null;
  readonly records: readonly AuditEntry[];
  /** Records missed because this console was too slow. */
  readonly missed: number;
  /** Chains whose older records could not be read. */
  readonly unread: readonly string[];
  readonly servers: readonly ServerStatus[];
  readonly consumers: readonly ConsumerView[];
};

export type FeedOptions = {
  readonly open: () => Promise<Client>;
  /** Polling interval for the gateway, its servers and its consumers, ms. */
  readonly every?: number;
  /** As for `stayConnected`. */
  readonly retry?: number;
};

const maxRecords = 1_000;
const history = 200;
/** Timeout for an answer, ms; a daemon that takes longer hangs. */
const patience = 5_000;
/** Events within this time are drawn together, ms. */
const frame = 50;

const first: View = {
  link: "connecting",
  trouble: null,
  heard: null,
  gateway: null,
  records: [],
  missed: 0,
  unread: [],
  servers: [],
  consumers: [],
};

/** A view of the gateway that is kept up to date, across restarts of the daemon, until closed. */
export class Feed {
  readonly #every: number;
  readonly #listeners = new Set<() => void>();
  readonly #ended = new AbortController();
  #view = first;
  #client: Client | null = null;
  /** Records since the last frame, merged in batches because merging each one costs more than drawing it. */
  readonly #fresh: AuditEntry[] = [];
  /** Whether listeners will be notified within a frame. */
  #telling = false;

  constructor({ open, every = 2_000, retry }: FeedOptions) {
    this.#every = every;
    void stayConnected({
      open,
      use: (client, live) => this.#use(client, live),
      lost: (error) => this.#set({ link: error instanceof Unanswered ? "silent" : "lost", trouble: messageOf(error) }),
      signal: this.#ended.signal,
      retry,
    });
  }

  readonly view = (): View => this.#view;

  /** Adds a listener and returns a function that removes it. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Sends one request. Throws if there is no connection or the answer takes too long. */
  async ask<N extends CallName>(name: N, input: Input<N>): Promise<Answer<N>> {
    if (!this.#client) throw new Error("the daemon is not reachable");
    return within(this.#client.call(name, input), patience, this.#ended.signal, () => {
      throw new Unanswered("the daemon does not answer");
    });
  }

  close(): void {
    this.#ended.abort();
    this.#listeners.clear();
  }

  #set(change: Partial<View>): void {
    this.#view = { ...this.#view, ...change };
    if (this.#telling) return;
    this.#telling = true;
    setTimeout(() => {
      this.#telling = false;
      this.#view = { ...this.#view, records: merge(this.#view.records, this.#fresh.splice(0), maxRecords) };
      for (const listener of this.#listeners) listener();
    }, frame);
  }

  #add(records: readonly AuditEntry[]): void {
    this.#fresh.push(...records);
    this.#set({});
  }

  /** Uses one connection until it or this feed ends. */
  async #use(client: Client, live: () => void): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([this.#ended.signal, over.signal]);
    this.#client = client;
    this.#set({ gateway: null });
    try {
      await Promise.race([this.#look(signal), this.#follow(client, live, signal)]);
    } finally {
      over.abort();
      this.#client = null;
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { servers, frozen, notReady } = await this.ask("status", {});
      this.#set({ servers, gateway: { frozen, notReady }, heard: Date.now() });
      this.#set(await this.ask("consumers", {}));
      await sleep(this.#every, signal);
    }
  }

  async #follow(client: Client, live: () => void, signal: AbortSignal): Promise<void> {
    const stream = client.stream("tail", {}, signal)[Symbol.asyncIterator]();
    // Requested after the stream began, so that no record is missed in between; duplicates are merged.
    const next = stream.next();
    next.catch(() => {});
    const { records, unread = [] } = await this.ask("audit.log", { limit: history });
    live();
    this.#set({ link: "live", trouble: null, unread });
    this.#add(records);
    for (let step = await next; !step.done; step = await stream.next()) {
      if ("gap" in step.value) this.#set({ missed: this.#view.missed + step.value.gap });
      else this.#add([step.value]);
    }
    throw new Error("the daemon ended the stream");
  }
}
