import { setImmediate } from "node:timers/promises";
import { Cancel } from "../core/cancel.ts";
import { messageOf } from "../core/error-text.ts";
import { lowerThreadPriority } from "../core/libc.ts";
import { type AuditReader, StoreBusy, StoreUnsynced } from "../core/store.ts";
import { type WalCheckpointer, openWalCheckpointer } from "../store/sqlite/wal-checkpointer.ts";
import { openIndexWriter } from "../store/sqlite/index-writer.ts";
import { chainPath, indexPath, statePath } from "../store/sqlite/paths.ts";
import { openReader } from "../store/sqlite/reader.ts";
import { openUsageStore } from "../store/sqlite/usage.ts";
import { archiveOf } from "./archive.ts";
import type { Answers, FromWorker, Request, Start } from "./housekeeper-client.ts";
import { rollUpPage, type Rollups } from "./rollup.ts";
import { withUncounted } from "./uncounted-usage.ts";

// Entry file of the only Worker. It checkpoints the write-ahead logs, rolls up records, and answers requests that would
// block the thread that serves calls.

/** Time between rollups while records keep coming, ms. Fewer, larger transactions cost less. */
const rollupInterval = 2000;
/** Time between checks of the logs, ms. Keys and tool lists are stored without a message to this thread. */
const walCheckpointInterval = 2000;

class Housekeeper {
  readonly #answers: Answers;
  readonly #reader: AuditReader;
  readonly #logs: readonly WalCheckpointer[];
  readonly #usage: ReturnType<typeof openUsageStore>;
  readonly #rollups: Rollups;
  readonly #start: Start;
  readonly #opened = new DisposableStack();
  #durable = 0;
  /** Why the last rollup of a chain failed, by chain. */
  readonly #failed = new Map<string, string>();
  #rolling: Promise<void> | null = null;
  #verification = new Cancel();
  #timer: Timer | undefined;
  readonly #copying = setInterval(() => this.#copyLogs(), walCheckpointInterval);

  constructor(start: Start) {
    const { home, chain } = start;
    this.#start = start;
    this.#reader = this.#opened.use(openReader(home, (error) => this.#renewIndex(error)));
    const state = statePath(home.state);
    this.#usage = this.#opened.use(openUsageStore(state));
    this.#logs = [chainPath(home, chain), state].map((path) => this.#opened.use(openWalCheckpointer(path)));
    const index = this.#opened.use(openIndexWriter(indexPath(home.state)));
    this.#rollups = { usage: start.usage ? this.#usage : null, index };
    this.#answers = this.#archive();
  }

  async receive(request: Request): Promise<void> {
    if (request.kind === "close") {
      await this.#close().catch(complain);
      return send({ kind: "closed" });
    }
    if (request.kind === "giveUp") return this.#verification.abort();
    this.#durable = request.durable;
    if (request.kind === "wake") this.#wake();
    else await this.#answer(request);
  }

  async #answer({ id, name, args }: Extract<Request, { kind: "ask" }>): Promise<void> {
    try {
      // The types of `ask` guarantee that the arguments match the name.
      const respond = this.#answers[name] as (...given: readonly unknown[]) => unknown;
      send({ kind: "answer", id, value: await respond(...args) });
    } catch (error) {
      send({ kind: "failure", id, message: messageOf(error) });
    }
  }

  #wake(): void {
    this.#copyLogs();
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#rollUp().catch(complain);
    }, rollupInterval);
  }

  /** Rolls up, and shortens the logs so that the next start is fast. */
  async #close(): Promise<void> {
    clearInterval(this.#copying);
    clearTimeout(this.#timer);
    await this.#rollUp().catch(complain);
    for (const log of this.#logs) attempt(() => log.finish());
    this.#opened.dispose();
  }

  #archive(): Answers {
    const reader = this.#reader;
    const uncounted = { metered: this.#start.usage, reach: (chain: string) => this.#reach(chain) };
    const archive = archiveOf(reader, (query) => withUncounted(reader, this.#usage.counted(query), query, uncounted));
    return {
      ...archive,
      verify: (options) => archive.verify(options, (this.#verification = new Cancel())),
      find: async (query) => {
        // A search scans every record that is not indexed yet.
        await this.#rollUp().catch(complain);
        return archive.find(query);
      },
      usage: async (query) => {
        await this.#rollUp().catch(complain);
        return archive.usage(query);
      },
    };
  }

  /** Discards an index that a query found damaged; the next rollup fills a new one. */
  #renewIndex(error: unknown): void {
    complain(error);
    attempt(() => this.#rollups.index?.renew());
  }

  /** Checkpoints each log. A failure, such as a full disk, stops neither the other log nor the rollups. */
  #copyLogs(): void {
    for (const log of this.#logs) attempt(() => log.run());
  }

  #rollUp(): Promise<void> {
    return (this.#rolling ??= this.#rollUpAll().finally(() => (this.#rolling = null)));
  }

  /**
   * Rolls up all chains, because an embedded gateway may have ended before it rolled up its own. A chain that cannot be
   * read does not stop the others.
   */
  async #rollUpAll(): Promise<void> {
    for (const chain of this.#reader.chains()) {
      try {
        await this.#rollUpChain(chain);
        this.#failed.delete(chain);
      } catch (error) {
        const message = messageOf(error);
        // Damage is permanent, so it is reported once.
        if (this.#failed.get(chain) !== message) complain(error, `chain ${chain}: `);
        this.#failed.set(chain, message);
      }
    }
  }

  /** Rolls up one chain. If the index fails, usage is still counted; a failed disk ends the process. */
  async #rollUpChain(chain: string): Promise<void> {
    const upto = this.#reach(chain);
    try {
      await this.#rollUpTo(chain, upto, this.#rollups);
    } catch (error) {
      if (error instanceof StoreUnsynced) throw error;
      await this.#rollUpTo(chain, upto, { ...this.#rollups, index: null });
      throw error;
    }
  }

  async #rollUpTo(chain: string, upto: number, rollups: Rollups): Promise<void> {
    while (this.#rollUpPage(chain, upto, rollups)) {
      this.#copyLogs();
      // Lets requests and wake-ups run in between.
      await setImmediate();
    }
  }

  /** Returns the last record to read of a chain. In the own chain, records that a power cut could undo are excluded. */
  #reach(chain: string): number {
    return chain === this.#start.chain ? this.#durable : (this.#reader.last(chain)?.seq ?? 0);
  }

  /** Rolls up one page, unless another process is rolling up this chain; reports whether there are more. */
  #rollUpPage(chain: string, upto: number, rollups: Rollups): boolean {
    try {
      return rollUpPage(this.#reader, chain, upto, rollups);
    } catch (error) {
      if (error instanceof StoreBusy) return false;
      throw error;
    }
  }
}

declare const self: Worker;

function send(message: FromWorker): void {
  self.postMessage(message);
}

function complain(error: unknown, about = ""): void {
  const kind = error instanceof StoreUnsynced ? "unsynced" : "complaint";
  send({ kind, message: about + messageOf(error) });
}

function attempt(work: () => void): void {
  try {
    work();
  } catch (error) {
    complain(error);
  }
}

self.onmessage = ({ data: start }: MessageEvent<Start>) => {
  self.onmessage = null;
  // Serving calls has priority over the work of this thread.
  lowerThreadPriority();
  // An error here ends the Worker, and the client starts another.
  const housekeeper = new Housekeeper(start);
  self.onmessage = ({ data }: MessageEvent<Request>) => void housekeeper.receive(data).catch(complain);
};
