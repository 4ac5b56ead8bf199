import { answerTime, type ClientAnswer, inputMethods, type InputMethod } from "../../core/inbound.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { within } from "../../core/wait.ts";
import { errorMessage } from "../../mcp/reply.ts";
import { Deadline } from "./deadline.ts";
import type { Ask, Handlers } from "./link.ts";

/** Why a request was given up without an answer. */
export type GaveUp = "timeout" | "cancelled";

/** What a server may ask during one request, at once and in all: each keeps a person busy. */
const mostInputs = { open: 16, all: 256 };
const withdrawn = Symbol("withdrawn");

/** A request of the server that is about an exchange. */
export type Question = { readonly idText: string; readonly method: string; readonly params: string };

const isInput = (method: string): method is InputMethod => inputMethods.some((one) => one === method);

/** The refusal of what a server asks. */
export const refusal = (idText: string, why: string): string => errorMessage(idText, rpcCodes.methodNotFound, why);

/** Whoever sent a request: told when its time is up or its caller gives up, unless it is closed before. */
export type Sender = { giveUp(exchange: Exchange, why: GaveUp): void };

/** One request from its sending to its answer, with everything that a server says on the way. */
export class Exchange {
  readonly id: number;
  readonly ask: Ask;
  readonly #deadline: Deadline | null;
  readonly #abort: () => void;
  #inputs: Map<string, AbortController> | null = null;
  #asked = 0;
  /** Questions that may be about it and wait for their answers. */
  #held = 0;
  #closed = false;
  #heard = false;

  constructor(id: number, ask: Ask, sender: Sender) {
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

  /** The time that was up, as its caller is told of it, ms. */
  get limit(): number {
    const { timeout, told, most } = this.ask;
    return this.#deadline?.spent ? most : (told ?? timeout ?? 0);
  }

  /** It has its answer, or needs none any more. */
  close(): void {
    this.#closed = true;
    this.#deadline?.stop();
    this.ask.signal.removeEventListener("abort", this.#abort);
    for (const controller of this.#inputs?.values() ?? []) controller.abort();
    this.#inputs = null;
  }

  /** The server said something of it: it is at work. */
  #hear(): void {
    this.#heard = true;
    this.#deadline?.touch();
  }

  /** False when nobody asked for progress; it shows that the server is at work nevertheless. */
  progress(params: string): boolean {
    const progress = this.#handlers?.progress;
    this.#hear();
    progress?.(params);
    return Boolean(progress);
  }

  /** Takes a log message; whoever wants none never hears of it. */
  message(params: string): void {
    this.#hear();
    this.#handlers?.message?.(params);
  }

  /** False when the client hears of it in another way. */
  completed(params: string): boolean {
    const completed = this.#handlers?.completed;
    this.#hear();
    completed?.(params);
    return Boolean(completed);
  }

  /** False when the request does not listen. */
  notified(method: string, params: string): boolean {
    const { purpose } = this.ask;
    if (purpose.kind !== "listen" || this.#closed) return false;
    purpose.notified(method, params);
    return true;
  }

  /** What comes after the answer reaches nobody. */
  get #handlers(): Handlers | null {
    const { purpose } = this.ask;
    return purpose.kind === "call" && !this.#closed ? purpose.handlers : null;
  }

  /** Ends the question of this id: the server does not want the answer any more. False when there is none. */
  withdraw(idText: string): boolean {
    const input = this.#inputs?.get(idText);
    input?.abort(withdrawn);
    return input !== undefined;
  }

  /** Whether a question of this id waits for its answer. */
  asks(idText: string): boolean {
    return this.#inputs?.has(idText) ?? false;
  }

  /** How many questions its client is being asked over it. */
  get asking(): number {
    return this.#inputs?.size ?? 0;
  }

  /** Has the client answer a question that is about one of `among`; see `askClient`. */
  question(question: Question, among: readonly Exchange[], reply: (text: string) => void): boolean {
    const { idText, method, params } = question;
    const request = this.#handlers?.request;
    const open = (this.#inputs ??= new Map());
    const most = open.size >= mostInputs.open || this.#asked >= mostInputs.all;
    for (const call of among) call.#hear();
    if (!request || !isInput(method) || most) return false;
    this.#asked++;
    const controller = new AbortController();
    open.set(idText, controller);
    for (const call of among) call.#hold();
    void answered(() => request({ method, params }, controller.signal), controller).then((answer) => {
      for (const call of among) call.#release();
      open.delete(idText);
      if (controller.signal.reason === withdrawn) return;
      // A server waits for no answer once all the calls have ended that it can be about.
      const left = among.filter((call) => !call.#closed);
      if (left.length === 0) return;
      if (answer) reply(`{"jsonrpc":"2.0","id":${idText},"${answer.kind}":${answer.text}}`);
      else if (!this.#closed || !askClient(left, question, reply)) {
        reply(errorMessage(idText, rpcCodes.internalError, "The client did not answer."));
      }
    });
    return true;
  }

  /** Its time stands still: a person is waited for. */
  #hold(): void {
    if (this.#held++ === 0) this.#deadline?.pause();
  }

  #release(): void {
    if (--this.#held === 0) this.#deadline?.resume();
  }
}

/**
 * Has the client answer a question that is about one of its calls, nobody knows which: it is put over the oldest of
 * those that are asked least, which is the order in which equal calls ask. Where that call ends before the answer, it is
 * put again over one that is left. False when the client cannot be asked.
 */
export function askClient(calls: readonly Exchange[], question: Question, reply: (text: string) => void): boolean {
  if (calls.some((call) => call.asks(question.idText))) return false;
  const [call] = calls.toSorted((a, b) => a.asking - b.asking);
  return call?.question(question, calls, reply) ?? false;
}

/** The client's answer; null when there is none in time, whatever the reason. */
async function answered(ask: () => Promise<ClientAnswer>, controller: AbortController): Promise<ClientAnswer | null> {
  try {
    return await within(ask(), answerTime, controller.signal, (why) => {
      if (why === "late") controller.abort();
      return null;
    });
  } catch {
    return null;
  }
}
