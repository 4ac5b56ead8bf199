import { Withdrawn } from "../../core/cancel.ts";
import { answerTimeoutMs, type ClientAnswer, inputMethods, type InputMethod } from "../../core/inbound.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { within } from "../../core/wait.ts";
import { locate, locatePresent } from "../../mcp/json-text.ts";
import { plainId } from "../../mcp/message.ts";
import { errorMessage, progressNotification } from "../../mcp/reply.ts";
import type { AskClient } from "./link.ts";

/** Maximum number of questions of one context that may be open at once: each keeps a person busy. */
export const maxOpenQuestions = 16;
/** How long an answer waits for earlier progress reports, ms. */
const progressFlushMs = 1_000;

/** A server's request to its client. */
export type Question = { readonly idText: string; readonly method: string; readonly params: string };

/** Sends a message to the server; a promise resolves once the server has accepted it. */
export type SendReply = (text: string) => void | Promise<void>;

/** Reports whether a client may be asked questions of this method at all. */
export const isInput = (method: string): method is InputMethod => inputMethods.some((one) => one === method);

/** What a server's question can be about: a call, or the session outside of calls. Holds the open questions. */
export abstract class QuestionContext {
  #open: Map<string, AbortController> | null = null;
  closed = false;
  /** Number of times the client was asked through this context. */
  abstract readonly timesAsked: number;

  /** Returns the way to ask one more question of this method; null if it may not be asked. */
  protected abstract take(method: InputMethod): AskClient | null;

  /** A question that may be about this context starts to wait for its answer. */
  protected hold(): void {}

  /** Such a question no longer waits. */
  protected release(): void {}

  /** Whether a question with this id waits for its answer. */
  hasOpen(idText: string): boolean {
    return this.#open?.has(plainId(idText)) ?? false;
  }

  /** Closes the context and ends its questions. */
  close(): void {
    this.closed = true;
    for (const controller of this.#open?.values() ?? []) controller.abort();
    this.#open = null;
  }

  /** Ends the question with this id, whose answer the server no longer wants; false if there is none. */
  withdraw(idText: string, why: Withdrawn): boolean {
    const controller = this.#open?.get(plainId(idText));
    controller?.abort(why);
    return controller !== undefined;
  }

  /** Asks the client, through this context, a question that is about one of `among`; see `askClient`. */
  ask(question: Question, among: readonly QuestionContext[], reply: SendReply): boolean {
    const { idText, method, params } = question;
    const id = plainId(idText);
    const open = (this.#open ??= new Map());
    if (!isInput(method) || open.size >= maxOpenQuestions) return false;
    const put = this.take(method);
    if (!put) return false;
    const controller = new AbortController();
    open.set(id, controller);
    for (const one of among) one.hold();
    const token = progressToken(params);
    const progress = token === null ? null : createProgress(token, reply);
    const request = { method, params, ...(progress && { progress: progress.report }) };
    void answered(() => put(request, controller.signal), controller).then(async (answer) => {
      // Over HTTP the answer could overtake the progress.
      await progress?.settled();
      for (const one of among) one.release();
      open.delete(id);
      if (controller.signal.reason instanceof Withdrawn) return;
      // Once everything that the question can be about is over, the server waits for no answer.
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
 * Asks a question that is about one of these, without saying which: through the one asked least often, oldest first; if
 * that ends before the answer, through another. False if the client cannot be asked.
 */
export function askClient(among: readonly QuestionContext[], question: Question, reply: SendReply): boolean {
  if (among.some((one) => one.hasOpen(question.idText))) return false;
  const inTurn = among.toSorted((a, b) => a.timesAsked - b.timesAsked);
  return inTurn.some((one) => one.ask(question, among, reply));
}

/** Returns the client's answer; null if none comes in time, for whatever reason. */
async function answered(ask: () => Promise<ClientAnswer>, controller: AbortController): Promise<ClientAnswer | null> {
  try {
    return await within(ask(), answerTimeoutMs, controller.signal, (why) => {
      if (why === "late") controller.abort();
      return null;
    });
  } catch {
    return null;
  }
}

/** Returns the progress token of a question, as raw JSON; null if the server does not want progress. */
function progressToken(params: string): string | null {
  const meta = locate(params, 0, "_meta");
  const token = meta && locatePresent(params, meta[0], "progressToken");
  return token && params.slice(...token);
}

/** Forwards a client's progress reports on a question one at a time, skipping to the latest. */
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
    /** Resolves once the server has received all reports, or does not in time; then the rest is dropped. */
    async settled(): Promise<void> {
      if (passing) await within(passing, progressFlushMs, null, () => void (latest = null));
    },
  };
}
