import type { Answer, CallName, Input } from "../control/api.ts";
import type { Client } from "../control/contract.ts";
import { Unanswered } from "../control/refusal.ts";
import type { AuditEntry, ConsumerView } from "../control/schemas.ts";
import { stayConnected } from "../control/stay-connected.ts";
import { messageOf } from "../core/error-text.ts";
import type { ServerStatus } from "../core/upstream.ts";
import { sleep, within } from "../core/wait.ts";
import { merge } from "./records.ts";

/** What the screens show. */
export type View = {
  readonly link: "connecting" | "live" | "lost" | "silent";
  /** Why there is no link; null while there is one. */
  readonly trouble: string | null;
  /** When the gateway answered last, epoch ms; null if it never has. */
  readonly heard: number | null;
  /** Whether the gateway takes calls; null until it has said so over this link. */
  readonly gateway: Pick<Answer<"status">, "frozen" | "notReady"> | null;
  readonly records: readonly AuditEntry[];
  /** Records missed because this console was too slow. */
  readonly missed: number;
  /** Chains of which older records could not be read. */
  readonly unread: readonly string[];
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
/** An answer that takes longer, ms, is not waited for: the daemon hangs. */
const patience = 5_000;
/** Events within this time, ms, are drawn together. */
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

/** Keeps a view of the gateway up to date, through restarts of the daemon, until closed. */
export class Feed {
  readonly #every: number;
  readonly #listeners = new Set<() => void>();
  readonly #ended = new AbortController();
  #view = first;
  #client: Client | null = null;
  /** Records that came since the last frame: to work each one in by itself costs more than to show it. */
  readonly #fresh: AuditEntry[] = [];
  /** Whether listeners will be told within a frame. */
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

  /** Returns the way to stop listening. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Asks for one thing. Throws if nobody is there to answer, or takes too long. */
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

  /** One connection, until it or this feed ends. */
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
    // Asked for after the stream began, so that no record is lost in between; a record in both counts once.
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
