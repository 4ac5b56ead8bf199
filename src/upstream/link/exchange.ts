import { Asking } from "./asking.ts";
import { Deadline } from "./deadline.ts";
import type { Ask, AskClient, Handlers } from "./link.ts";

/** Why a request was given up without an answer. */
export type GaveUp = "timeout" | "cancelled";

/** What a server may ask during one request in all. */
const mostInputs = 256;

/** Whoever sent a request: told when its time is up or its caller gives up, unless it is closed before. */
export type Sender = { giveUp(exchange: Exchange, why: GaveUp): void };

/** One request from its sending to its answer, with everything that a server says on the way. */
export class Exchange extends Asking {
  readonly id: number;
  readonly ask: Ask;
  readonly #deadline: Deadline | null;
  readonly #abort: () => void;
  #asked = 0;
  /** Questions that may be about it and wait for their answers. */
  #held = 0;
  #heard = false;

  constructor(id: number, ask: Ask, sender: Sender) {
    super();
    this.id = id;
    this.ask = ask;
    const { timeout, most, signal } = ask;
    this.#deadline = timeout === null ? null : new Deadline(timeout, most, () => sender.giveUp(this, "timeout"));
    this.#abort = () => sender.giveUp(this, "cancelled");
    signal.addEventListener("abort", this.#abort, { once: true });
  }

  get isCall(): boolean {
    return this.ask.purpose.kind === "call";
  }

  /** Whether the server has said anything of it, so that it has begun to run. */
  get heard(): boolean {
    return this.#heard;
  }

  /** The server said something that may be of it: it is at work. */
  hear(): void {
    this.#heard = true;
    this.#deadline?.touch();
  }

  /** The time that was up, as its caller is told of it, ms. */
  get limit(): number {
    const { timeout, told, most } = this.ask;
    return this.#deadline?.spent ? most : (told ?? timeout ?? 0);
  }

  /** It has its answer, or needs none any more. */
  override close(): void {
    this.#deadline?.stop();
    this.ask.signal.removeEventListener("abort", this.#abort);
    super.close();
  }

  /** False when nobody asked for progress; it shows that the server is at work nevertheless. */
  progress(params: string): boolean {
    const progress = this.#handlers?.progress;
    this.hear();
    progress?.(params);
    return Boolean(progress);
  }

  /** Takes a log message; whoever wants none never hears of it. */
  message(params: string): void {
    this.hear();
    this.#handlers?.message?.(params);
  }

  /** False when the client hears of it in another way. */
  completed(params: string): boolean {
    const completed = this.#handlers?.completed;
    this.hear();
    completed?.(params);
    return Boolean(completed);
  }

  /** False when the request does not listen. */
  notified(method: string, params: string): boolean {
    const { purpose } = this.ask;
    if (purpose.kind !== "listen" || this.closed) return false;
    purpose.notified(method, params);
    return true;
  }

  /** What comes after the answer reaches nobody. */
  get #handlers(): Handlers | null {
    const { purpose } = this.ask;
    return purpose.kind === "call" && !this.closed ? purpose.handlers : null;
  }

  get asked(): number {
    return this.#asked;
  }

  protected take(): AskClient | null {
    const request = this.#handlers?.request;
    return request && this.#asked++ < mostInputs ? request : null;
  }

  /** Its time stands still: the client is waited for. */
  protected hold(): void {
    if (this.#held++ === 0) this.#deadline?.pause();
  }

  protected release(): void {
    if (--this.#held === 0) this.#deadline?.resume();
  }
}
