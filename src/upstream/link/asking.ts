import { Withdrawn } from "../../core/cancel.ts";
import { answerTime, type ClientAnswer, inputMethods, type InputMethod } from "../../core/inbound.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { within } from "../../core/wait.ts";
import { locate, rawValue } from "../../mcp/json-text.ts";
import { plainId } from "../../mcp/message.ts";
import { errorMessage, progressNotification } from "../../mcp/reply.ts";
import type { AskClient } from "./link.ts";

/** Most questions about one matter that a server may have open at once: each keeps a person busy. */
export const mostOpen = 16;
/** How long an answer waits for the reports of its progress that came before it, ms. */
const lastReportMs = 1_000;

/** A request of the server. */
export type Question = { readonly idText: string; readonly method: string; readonly params: string };

/** Sends a message to the server; a promise resolves once the server has taken it. */
export type SendReply = (text: string) => void | Promise<void>;

/** Whether a client may be asked questions of this method at all. */
export const isInput = (method: string): method is InputMethod => inputMethods.some((one) => one === method);

/** The error that refuses a question of a server. */
export const refusal = (idText: string, why: string): string => errorMessage(idText, rpcCodes.methodNotFound, why);

/**
 * A matter about which a server may ask the client: a call, or a session. It holds the questions that wait for answers.
 */
export abstract class Asking {
  #inputs: Map<string, AbortController> | null = null;
  #closed = false;

  /** The way to ask one question of this method; null where it may not be asked. */
  protected abstract take(method: InputMethod): AskClient | null;

  /** A question that may be about this matter begins to wait for its answer. */
  protected abstract hold(): void;

  /** That question waits no more. */
  protected abstract release(): void;

  get closed(): boolean {
    return this.#closed;
  }

  /** How often the client was asked about this matter. */
  abstract get asked(): number;

  /** Whether a question of this id waits for its answer. */
  asks(idText: string): boolean {
    return this.#inputs?.has(plainId(idText)) ?? false;
  }

  /** The matter is over, and so are its questions. */
  close(): void {
    this.#closed = true;
    for (const controller of this.#inputs?.values() ?? []) controller.abort();
    this.#inputs = null;
  }

  /**
   * Ends the question of this id: the server does not want the answer any more. False when there is no such question.
   */
  withdraw(idText: string, why: Withdrawn): boolean {
    const input = this.#inputs?.get(plainId(idText));
    input?.abort(why);
    return input !== undefined;
  }

  /** Asks the client, through this matter, a question that is about one of `among`; see `askClient`. */
  question(question: Question, among: readonly Asking[], reply: SendReply): boolean {
    const { idText, method, params } = question;
    const id = plainId(idText);
    const open = (this.#inputs ??= new Map());
    if (!isInput(method) || open.size >= mostOpen) return false;
    const ask = this.take(method);
    if (!ask) return false;
    const controller = new AbortController();
    open.set(id, controller);
    for (const one of among) one.hold();
    const token = progressToken(params);
    const progress = token === null ? null : new Progress(token, reply);
    const request = { method, params, ...(progress && { progress: (said: string) => progress.report(said) }) };
    void answered(() => ask(request, controller.signal), controller).then(async (answer) => {
      // Over HTTP the answer could overtake it.
      await progress?.settled();
      for (const one of among) one.release();
      open.delete(id);
      if (controller.signal.reason instanceof Withdrawn) return;
      // Once all matters that the question can be about are over, the server waits for no answer.
      const left = among.filter(({ closed }) => !closed);
      if (left.length === 0) return;
      if (answer) void reply(`{"jsonrpc":"2.0","id":${idText},"${answer.kind}":${answer.text}}`);
      else if (!this.#closed || !askClient(left, question, reply)) {
        void reply(errorMessage(idText, rpcCodes.internalError, "The client did not answer."));
      }
    });
    return true;
  }
}

/**
 * The server's question is about one of these calls, but does not say which. Asks through the call asked least often,
 * oldest first; if it ends before the answer, asks through another. False when the client cannot be asked.
 */
export function askClient(calls: readonly Asking[], question: Question, reply: SendReply): boolean {
  if (calls.some((call) => call.asks(question.idText))) return false;
  const inTurn = calls.toSorted((a, b) => a.asked - b.asked);
  return inTurn.some((call) => call.question(question, calls, reply));
}

/** The client's answer; null when none comes in time, for whatever reason. */
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

/** The token under which the server wants to hear of the client's progress with its question, raw JSON; null for none. */
function progressToken(params: string): string | null {
  const meta = locate(params, 0, "_meta");
  return meta && rawValue(params, meta[0], "progressToken");
}

/** Passes on what a client reports of its progress with a question: one report after the other, of several the latest. */
class Progress {
  readonly #token: string;
  readonly #reply: SendReply;
  #latest: string | null = null;
  #passing: Promise<void> | null = null;

  constructor(token: string, reply: SendReply) {
    this.#token = token;
    this.#reply = reply;
  }

  /** Takes the `params` of a report, raw JSON. */
  report(params: string): void {
    this.#latest = params;
    this.#passing ??= this.#pass();
  }

  /** Resolves once the server has all that was reported, or does not take it in time; then the rest is dropped. */
  async settled(): Promise<void> {
    if (this.#passing) await within(this.#passing, lastReportMs, null, () => void (this.#latest = null));
  }

  async #pass(): Promise<void> {
    for (let params = this.#latest; params !== null; params = this.#latest) {
      this.#latest = null;
      await this.#reply(progressNotification(this.#token, params));
    }
    this.#passing = null;
  }
}
