import type { ChainReport, VerifyOptions } from "../audit/verify.ts";
import { type AbortSignalLike, onAbort } from "../core/cancel.ts";
import type { Logger } from "../core/log.ts";
import { within } from "../core/wait.ts";
import type { ChainHome } from "../store/sqlite/paths.ts";
import type { Archive } from "./archive.ts";

export type Answers = Omit<Archive, "chains" | "verify"> & {
  verify(options: VerifyOptions): Promise<ChainReport>;
};

/** The first message to the Worker: the files it maintains. */
export type Start = { readonly home: ChainHome; readonly chain: string; readonly usage: boolean };

/** A message to the Worker. `durable` is the last record that may be read; `name` and `args` call one of `Answers`. */
export type Request =
  | { readonly kind: "wake"; readonly durable: number }
  | {
      readonly kind: "ask";
      readonly durable: number;
      readonly id: number;
      readonly name: keyof Answers;
      readonly args: readonly unknown[];
    }
  /** Cancels the running verification, of which there is at most one. */
  | { readonly kind: "giveUp" }
  | { readonly kind: "close" };

export type FromWorker =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failure"; readonly id: number; readonly message: string }
  | { readonly kind: "complaint"; readonly message: string }
  | { readonly kind: "unsynced"; readonly message: string }
  | { readonly kind: "closed" };

export type HousekeeperOptions = Start & {
  readonly url: URL;
  readonly log: Logger;
  /** The disk failed: the process must end at once. */
  readonly fatal: (reason: string) => void;
};

const wakeEveryMs = 100;
const restartMs = 1000;
const closeMs = 5000;
const maxPendingRequests = 1000;

type Waiting = { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void };

/** The client of the Worker, in the thread that serves calls. Replaces a Worker that dies. The broker calls `wake`. */
export class HousekeeperClient {
  readonly #options: HousekeeperOptions;
  readonly #waiting = new Map<number, Waiting>();
  /** Null between the death of one Worker and the start of the next. */
  #worker: Worker | null;
  #next = 1;
  #durable = 0;
  #timer: Timer | undefined;
  #closed: (() => void) | null = null;

  constructor(options: HousekeeperOptions) {
    this.#options = options;
    this.#worker = this.#spawn();
  }

  /** Reports how far the chain is durable. Cheap: sends at most ten messages per second. */
  readonly wake = (durable: number): void => {
    this.#durable = durable;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#post({ kind: "wake", durable: this.#durable });
    }, wakeEveryMs).unref();
  };

  /** Rejects with the Worker's error, or when the Worker dies. */
  ask<K extends keyof Answers>(name: K, ...args: Parameters<Answers[K]>): Promise<Awaited<ReturnType<Answers[K]>>> {
    if (!this.#worker) return Promise.reject(new Error("the housekeeper is restarting"));
    if (this.#waiting.size >= maxPendingRequests)
      return Promise.reject(new Error("too many requests to the housekeeper"));
    const id = this.#next++;
    type Value = Awaited<ReturnType<Answers[K]>>;
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    // Client and Worker share the type `Answers`, which pairs each request with its response.
    this.#waiting.set(id, { resolve: (value) => resolve(value as Value), reject });
    this.#post({ kind: "ask", id, durable: this.#durable, name, args });
    return promise;
  }

  /** Runs a verification, which the signal cancels. Only one may run at a time. */
  async verify(options: VerifyOptions, signal: AbortSignalLike): Promise<ChainReport> {
    const stop = onAbort(signal, () => this.#post({ kind: "giveUp" }));
    return this.ask("verify", options).finally(stop);
  }

  /** Finishes the rollups and resets the write-ahead logs, within five seconds, then terminates the Worker. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closed = resolve;
    this.#post({ kind: "wake", durable: this.#durable });
    this.#post({ kind: "close" });
    if (!this.#worker) resolve();
    await within(promise, closeMs, null, () => {});
    this.#failAll("the gateway is stopping");
    this.#worker?.terminate();
  }

  #spawn(): Worker {
    const { url, home, chain, usage } = this.#options;
    const worker = new Worker(url, { type: "module", name: "housekeeper" });
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    worker.addEventListener("error", ({ message }) => this.#died(message));
    worker.unref();
    worker.postMessage({ home, chain, usage } satisfies Start);
    return worker;
  }

  #post(message: Request): void {
    this.#worker?.postMessage(message);
  }

  #receive(message: FromWorker): void {
    const { log, fatal } = this.#options;
    if (message.kind === "closed") this.#closed?.();
    else if (message.kind === "unsynced") fatal(message.message);
    else if (message.kind === "complaint") log.warn("housekeeping failed", { cause: message.message }, message.message);
    else {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.kind === "answer") waiting?.resolve(message.value);
      else waiting?.reject(new Error(message.message));
    }
  }

  #died(report: string): void {
    // Bun also reports the source around the error, as numbered lines and a caret line; drop those.
    const [cause = report] = report.split("\n").filter((line) => !/^\s*(\d+ \|.*|\^)?$/.test(line));
    const facts = { cause: cause.replace(/^error: /, "") };
    this.#options.log.error("the housekeeper died; restarting it", facts, "housekeeper");
    this.#worker?.terminate();
    this.#worker = null;
    this.#failAll("the housekeeper died");
    if (this.#closed) return this.#closed();
    setTimeout(() => {
      if (this.#closed) return;
      this.#worker = this.#spawn();
      this.wake(this.#durable);
    }, restartMs).unref();
  }

  #failAll(reason: string): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(reason));
    this.#waiting.clear();
  }
}
