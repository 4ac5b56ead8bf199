import type { Failure } from "../../core/failure.ts";
import { isLonger } from "../../mcp/utf8.ts";
import { faults } from "../faults.ts";
import { Deadline } from "./deadline.ts";
import type { Answer, AskClient, Handlers, LinkHost, LinkRequest } from "./link.ts";
import { QuestionContext } from "./question-context.ts";

/** Why a request was given up without an answer. */
export type GaveUp = "timeout" | "cancelled";

/** Most questions that a server may ask during one request. */
const mostQuestions = 256;

const issuedId = /^[1-9]\d{0,14}$/;

/** Whether `id` is one that a link gave out, which are the numbers from 1 to `last`. */
export const isIssued = (id: string, last: number): boolean => issuedId.test(id) && Number(id) <= last;

/** The failure of an answer with a result beyond the limit; null for every other answer. */
export function tooLarge(answer: Answer, { server, limits }: LinkHost): Failure | null {
  const { result } = limits();
  return answer.kind === "result" && isLonger(answer.result, result) ? faults.tooLarge(server, result) : null;
}

/** One request until it is answered, with everything that the server says about it meanwhile. */
export abstract class Exchange extends QuestionContext {
  readonly id: number;
  readonly request: LinkRequest;
  readonly #deadline: Deadline | null;
  readonly #abort: () => void;
  timesAsked = 0;
  /** The number of questions that may be about this request and wait for their answers. */
  #held = 0;
  /** Whether the server has said anything about the request, which means that it has begun to run. */
  heard = false;

  constructor(id: number, request: LinkRequest) {
    super();
    this.id = id;
    this.request = request;
    const { timeout, waited, most, signal } = request;
    this.#deadline = timeout === null ? null : new Deadline(timeout, most, () => this.giveUp("timeout"), waited);
    this.#abort = () => this.giveUp("cancelled");
    signal.addEventListener("abort", this.#abort, { once: true });
  }

  /** The time is up, or the caller gives up. Not called once the exchange is closed. */
  protected abstract giveUp(why: GaveUp): void;

  get isCall(): boolean {
    return this.request.purpose.kind === "call";
  }

  get isOwn(): boolean {
    return this.request.purpose.kind === "own";
  }

  /** The client that made the call; null where none is known, or it is no call. */
  get client(): string | null {
    const { purpose } = this.request;
    return purpose.kind === "call" ? purpose.client : null;
  }

  /** Whether a question that may be about the request waits for the client. */
  get waits(): boolean {
    return this.#held > 0;
  }

  /** The server said something that may be about the request, which is a sign of life. */
  hear(): void {
    this.heard = true;
    this.#deadline?.touch();
  }

  /** The time that was exceeded, as it is named to the caller, ms. */
  get limit(): number {
    const { timeout, most } = this.request;
    return this.#deadline?.spent ? most : (timeout ?? 0);
  }

  /** The request has its answer, or needs none any more. */
  override close(): void {
    this.#deadline?.stop();
    this.request.signal.removeEventListener("abort", this.#abort);
    super.close();
  }

  /** Passes progress on; false when nobody asked for it. Even then it is a sign of life. */
  progress(params: string): boolean {
    const progress = this.#handlers?.progress;
    this.hear();
    progress?.(params);
    return Boolean(progress);
  }

  /** Passes a log message on; false if the caller does not want it. Even then it is a sign of life. */
  message(params: string): boolean {
    this.hear();
    return this.#handlers?.message?.(params) ?? false;
  }

  /** Passes any other notification on; false when it is not for this caller, and then it buys no time. */
  other(method: string, params: string): boolean {
    this.heard = true;
    const passed = this.#handlers?.other?.(method, params) ?? false;
    if (passed) this.hear();
    return passed;
  }

  /** Passes a notification to a request that listens; false for every other request. */
  notified(method: string, params: string): boolean {
    const { purpose } = this.request;
    if (purpose.kind !== "listen" || this.closed) return false;
    purpose.notified(method, params);
    return true;
  }

  /** Null once the request is closed: messages that come after the answer reach nobody. */
  get #handlers(): Handlers | null {
    const { purpose } = this.request;
    return purpose.kind === "call" && !this.closed ? purpose.handlers : null;
  }

  /** Whether the client of this request can be asked anything at all. */
  get askable(): boolean {
    return this.#handlers?.askable ?? false;
  }

  protected take(): AskClient | null {
    const ask = this.#handlers?.ask;
    return ask && this.timesAsked++ < mostQuestions ? ask : null;
  }

  /** Stops the clock while the client is waited for. */
  protected override hold(): void {
    if (this.#held++ === 0) this.#deadline?.pause();
  }

  protected override release(): void {
    if (--this.#held === 0) this.#deadline?.resume();
  }
}
