import { Withdrawn } from "../../core/cancel.ts";
import { answerTime, type ClientAnswer, inputMethods, type InputMethod } from "../../core/inbound.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { within } from "../../core/wait.ts";
import { locate, locatePresent } from "../../mcp/json-text.ts";
import { plainId } from "../../mcp/message.ts";
import { errorMessage, progressNotification } from "../../mcp/reply.ts";
import type { AskClient } from "./link.ts";

/** Most questions of one context that a server may have open at once: each keeps a person busy. */
export const mostOpen = 16;
/** How long an answer waits for the reports of its progress that came before it, ms. */
const lastReportMs = 1_000;

/** A request of the server, for its client. */
export type Question = { readonly idText: string; readonly method: string; readonly params: string };

/** Sends a message to the server; a promise resolves once the server has taken it. */
export type SendReply = (text: string) => void | Promise<void>;

/** Whether a client may be asked questions of this method at all. */
export const isInput = (method: string): method is InputMethod => inputMethods.some((one) => one === method);

/**
 * What a question of the server can be about: a call, or the session outside of calls. Holds the questions that wait
 * for answers.
 */
export abstract class QuestionContext {
  #open: Map<string, AbortController> | null = null;
  closed = false;
  /** How often the client was asked by way of this context. */
  abstract readonly timesAsked: number;

  /** The way to ask one more question of this method; null where it may not be asked. */
  protected abstract take(method: InputMethod): AskClient | null;

  /** A question that may be about this context begins to wait for its answer. */
  protected hold(): void {}

  /** That question waits no more. */
  protected release(): void {}

  /** Whether a question of this id waits for its answer. */
  hasOpen(idText: string): boolean {
    return this.#open?.has(plainId(idText)) ?? false;
  }

  /** The context is over, and so are its questions. */
  close(): void {
    this.closed = true;
    for (const controller of this.#open?.values() ?? []) controller.abort();
    this.#open = null;
  }

  /**
   * Ends the question of this id: the server does not want the answer any more. False when there is no such question.
   */
  withdraw(idText: string, why: Withdrawn): boolean {
    const controller = this.#open?.get(plainId(idText));
    controller?.abort(why);
    return controller !== undefined;
  }

  /** Asks the client, by way of this context, a question that is about one of `among`; see `askClient`. */
  ask(question: Question, among: readonly QuestionContext[], reply: SendReply): boolean {
    const { idText, method, params } = question;
    const id = plainId(idText);
    const open = (this.#open ??= new Map());
    if (!isInput(method) || open.size >= mostOpen) return false;
    const put = this.take(method);
    if (!put) return false;
    const controller = new AbortController();
    open.set(id, controller);
    for (const one of among) one.hold();
    const token = progressToken(params);
    const progress = token === null ? null : createProgress(token, reply);
    const request = { method, params, ...(progress && { progress: progress.report }) };
    void answered(() => put(request, controller.signal), controller).then(async (answer) => {
      // Over HTTP the answer could overtake it.
      await progress?.settled();
      for (const one of among) one.release();
      open.delete(id);
      if (controller.signal.reason instanceof Withdrawn) return;
      // Once all that the question can be about is over, the server waits for no answer.
      const present = among.filter(({ closed }) => !closed);
      if (present.length === 0) return;
      if (answer) void reply(`{"jsonrpc":"2.0","id":${idText},"${answer.kind}":${answer.text}}`);
      else if (!this.closed || !askClient(present, question, reply)) {
        void reply(errorMessage(idText, rpcCodes.internalError, "The client did not answer."));
      }
    });
    return true;
  }
}

/**
 * The server's question is about one of these, but does not say which. Asks by way of the one asked least often, oldest
 * first; if that ends before the answer, by way of another. False when the client cannot be asked.
 */
export function askClient(among: readonly QuestionContext[], question: Question, reply: SendReply): boolean {
  if (among.some((one) => one.hasOpen(question.idText))) return false;
  const inTurn = among.toSorted((a, b) => a.timesAsked - b.timesAsked);
  return inTurn.some((one) => one.ask(question, among, reply));
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

/**
 * The token under which the server wants to hear of the client's progress with its question, raw JSON; null for none.
 */
function progressToken(params: string): string | null {
  const meta = locate(params, 0, "_meta");
  const token = meta && locatePresent(params, meta[0], "progressToken");
  return token && params.slice(...token);
}

/**
 * Passes on what a client reports of its progress with a question: one report after the other, of several the latest.
 */
function createProgress(token: string, reply: SendReply) {
  let latest: string | null = null;
  let passing: Promise<void> | null = null;
  const pass = async (): Promise<void> => {
    for (let params = latest; params !== null; params = latest) {
      latest = null;
      await reply(progressNotification(token, params));
    }
    passing = null;
  };
  return {
    /** Takes the `params` of a report, raw JSON. */
    report(params: string): void {
      latest = params;
      passing ??= pass();
    },
    /** Resolves once the server has all that was reported, or does not take it in time; then the rest is dropped. */
    async settled(): Promise<void> {
      if (passing) await within(passing, lastReportMs, null, () => void (latest = null));
    },
  };
}
