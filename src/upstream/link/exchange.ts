import type { Failure } from "../../core/failure.ts";
import { isLonger } from "../../mcp/utf8.ts";
import { faults } from "../faults.ts";
import { Deadline } from "./deadline.ts";
import type { Answer, AskClient, Handlers, LinkHost, LinkRequest } from "./link.ts";
import { QuestionContext } from "./question-context.ts";

/** Why a request was given up without an answer. */
export type GaveUp = "timeout" | "cancelled";

/** Maximum number of questions that a server may ask during one request. */
const maxQuestions = 256;

const issuedId = /^[1-9]\d{0,14}$/;

/** Reports whether a link has used `id`: its ids are the numbers from 1 to `last`. */
export const isIssued = (id: string, last: number): boolean => issuedId.test(id) && Number(id) <= last;

/** Returns the failure of an answer whose result exceeds the limit; null for any other answer. */
export function tooLarge(answer: Answer, { server, limits }: LinkHost): Failure | null {
  const { result } = limits();
  return answer.kind === "result" && isLonger(answer.result, result) ? faults.tooLarge(server, result) : null;
}

/** One request until it is answered, with everything that the server sends about it in the meantime. */
export abstract class Exchange extends QuestionContext {
  readonly id: number;
  readonly request: LinkRequest;
  readonly #deadline: Deadline | null;
  readonly #abort: () => void;
  timesAsked = 0;
  /** Number of questions that may be about this request and wait for their answers. */
  #held = 0;
  /** Whether the server has sent anything about the request, which means that it has begun to run. */
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

  /** Gives the request up: the time is up, or the caller cancels. Not called once the exchange is closed. */
  protected abstract giveUp(why: GaveUp): void;

  get isCall(): boolean {
    return this.request.purpose.kind === "call";
  }

  get isOwn(): boolean {
    return this.request.purpose.kind === "own";
  }

  /** The client that made the call; null if it is unknown or this is not a call. */
  get client(): string | null {
    const { purpose } = this.request;
    return purpose.kind === "call" ? purpose.client : null;
  }

  /** Whether a question that may be about the request waits for the client. */
  get waits(): boolean {
    return this.#held > 0;
  }

  /** Records a message of the server that may be about the request, which is a sign of life. */
  hear(): void {
    this.heard = true;
    this.#deadline?.touch();
  }

  /** The exceeded time that is reported to the caller, ms. */
  get limit(): number {
    const { timeout, most } = this.request;
    return this.#deadline?.spent ? most : (timeout ?? 0);
  }

  /** Closes the exchange: the request has its answer, or no longer needs one. */
  override close(): void {
    this.#deadline?.stop();
    this.request.signal.removeEventListener("abort", this.#abort);
    super.close();
  }

  /** Forwards progress; false if nobody asked for it. Even then it is a sign of life. */
  progress(params: string): boolean {
    const progress = this.#handlers?.progress;
    this.hear();
    progress?.(params);
    return Boolean(progress);
  }

  /** Forwards a log message; false if the caller does not want it. Even then it is a sign of life. */
  message(params: string): boolean {
    this.hear();
    return this.#handlers?.message?.(params) ?? false;
  }

  /** Forwards any other notification; false if it is not for this caller, and then it is not a sign of life. */
  other(method: string, params: string): boolean {
    this.heard = true;
    const passed = this.#handlers?.other?.(method, params) ?? false;
    if (passed) this.hear();
    return passed;
  }

  /** Forwards a notification to a request that listens; false for any other request. */
  notified(method: string, params: string): boolean {
    const { purpose } = this.request;
    if (purpose.kind !== "listen" || this.closed) return false;
    purpose.notified(method, params);
    return true;
  }

  /** Null once the request is closed: messages after the answer reach nobody. */
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
    return ask && this.timesAsked++ < maxQuestions ? ask : null;
  }

  /** Pauses the clock while the gateway waits for the client. */
  protected override hold(): void {
    if (this.#held++ === 0) this.#deadline?.pause();
  }

  protected override release(): void {
    if (--this.#held === 0) this.#deadline?.resume();
  }
}
