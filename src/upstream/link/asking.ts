import { answerTime, type ClientAnswer, inputMethods, type InputMethod } from "../../core/inbound.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { within } from "../../core/wait.ts";
import { errorMessage } from "../../mcp/reply.ts";
import type { AskClient } from "./link.ts";

/** What a server may ask over one matter at once: each keeps a person busy. */
const mostOpen = 16;
const withdrawn = Symbol("withdrawn");

/** A request of the server. */
export type Question = { readonly idText: string; readonly method: string; readonly params: string };

const isInput = (method: string): method is InputMethod => inputMethods.some((one) => one === method);

/** The refusal of what a server asks. */
export const refusal = (idText: string, why: string): string => errorMessage(idText, rpcCodes.methodNotFound, why);

/** A matter over which a server may ask the client, with the questions that wait for their answers. */
export abstract class Asking {
  #inputs: Map<string, AbortController> | null = null;
  #closed = false;

  /** The way to ask this once; null where it may not be asked. */
  protected abstract take(method: InputMethod): AskClient | null;

  /** A question begins to wait that may be about this. */
  protected abstract hold(): void;

  /** It waits no more. */
  protected abstract release(): void;

  get closed(): boolean {
    return this.#closed;
  }

  /** How often the client was asked over it. */
  abstract get asked(): number;

  /** Whether a question of this id waits for its answer. */
  asks(idText: string): boolean {
    return this.#inputs?.has(idText) ?? false;
  }

  /** It is over, and so are its questions. */
  close(): void {
    this.#closed = true;
    for (const controller of this.#inputs?.values() ?? []) controller.abort();
    this.#inputs = null;
  }

  /** Ends the question of this id: the server does not want the answer any more. False when there is none. */
  withdraw(idText: string): boolean {
    const input = this.#inputs?.get(idText);
    input?.abort(withdrawn);
    return input !== undefined;
  }

  /** Has the client answer a question that is about one of `among`; see `askClient`. */
  question(question: Question, among: readonly Asking[], reply: (text: string) => void): boolean {
    const { idText, method, params } = question;
    const open = (this.#inputs ??= new Map());
    const ask = isInput(method) && open.size < mostOpen ? this.take(method) : null;
    if (!ask || !isInput(method)) return false;
    const controller = new AbortController();
    open.set(idText, controller);
    for (const one of among) one.hold();
    void answered(() => ask({ method, params }, controller.signal), controller).then((answer) => {
      for (const one of among) one.release();
      open.delete(idText);
      if (controller.signal.reason === withdrawn) return;
      // A server waits for no answer once all is over that it can be about.
      const left = among.filter(({ closed }) => !closed);
      if (left.length === 0) return;
      if (answer) reply(`{"jsonrpc":"2.0","id":${idText},"${answer.kind}":${answer.text}}`);
      else if (!this.#closed || !askClient(left, question, reply)) {
        reply(errorMessage(idText, rpcCodes.internalError, "The client did not answer."));
      }
    });
    return true;
  }
}

/**
 * Has the client answer a question that is about one of its calls, nobody knows which: it is put over the oldest of
 * those that were asked least, which is the order in which equal calls ask. Where that call ends before the answer, it is
 * put again over one that is left. False when the client cannot be asked.
 */
export function askClient(calls: readonly Asking[], question: Question, reply: (text: string) => void): boolean {
  if (calls.some((call) => call.asks(question.idText))) return false;
  const inTurn = calls.toSorted((a, b) => a.asked - b.asked);
  return inTurn.some((call) => call.question(question, calls, reply));
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
