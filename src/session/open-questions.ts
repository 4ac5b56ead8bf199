import { randomInt } from "node:crypto";
import { type AbortSignalLike, onAbort } from "../core/cancel.ts";
import { Failure } from "../core/failure.ts";
import type { ClientAnswer, InputRequest } from "../core/inbound.ts";
import { plainId } from "../mcp/message.ts";
import { forNextHop } from "../mcp/meta.ts";
import { cancelledParams, notificationText, requestText } from "../mcp/outbound.ts";
import type { Traffic } from "./traffic.ts";

type Waiting = {
  readonly progress: InputRequest["progress"] | undefined;
  readonly resolve: (answer: ClientAnswer) => void;
  readonly reject: (failure: Failure) => void;
};

const mostWaiting = 64;
/** Ids begin below this, so that they fit into 32 bits, as some clients keep them. */
const firstBelow = 2 ** 30;

/** The open questions to one legacy client. The gateway chooses their ids, and answers are matched by them. */
export class OpenQuestions {
  readonly #waiting = new Map<string, Waiting>();
  readonly #traffic: Traffic;
  /**
   * A client that initializes anew on its connection may still answer what it was asked before: that must not be an id
   * of the present session.
   */
  #last = randomInt(firstBelow);
  /** Why nothing can be asked any more; null while it can. */
  #closed: Failure | null = null;

  constructor(traffic: Traffic) {
    this.#traffic = traffic;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Sends a request to the client by `send` and resolves with its answer; `signal` limits the wait. Rejects with
   * `cancelled` if `signal` fires or the client has gone, with `overloaded` if too many questions are open, and as
   * `close` says. A client that is still there is told that the request is cancelled.
   */
  async ask(
    { method, params, progress }: InputRequest,
    signal: AbortSignalLike,
    send: (message: string) => void,
  ): Promise<ClientAnswer> {
    if (this.#closed) throw this.#closed;
    if (signal.aborted) throw gone();
    if (this.#waiting.size >= mostWaiting) {
      throw new Failure("overloaded", `The client has ${mostWaiting} unanswered questions already.`);
    }
    // A number, since there are clients (langchain4j) that read any id as one and answer a text under 0.
    const id = ++this.#last;
    const key = String(id);
    const { promise, resolve, reject } = Promise.withResolvers<ClientAnswer>();
    const abort = (): void => {
      send(notificationText("notifications/cancelled", cancelledParams(key, signal.reason, "no longer needed")));
      reject(gone());
    };
    const unwatch = onAbort(signal, abort);
    this.#waiting.set(key, { progress, resolve, reject });
    this.#traffic.asked++;
    try {
      const stamped = progress ? forNextHop(params, "progressToken", [`"progressToken":${key}`]) : params;
      send(requestText(id, method, stamped));
      return await promise;
    } finally {
      this.#traffic.asked--;
      this.#waiting.delete(key);
      unwatch();
    }
  }

  /** Passes an answer to its question; false if no open question has this id. */
  answer(idText: string, answer: ClientAnswer): boolean {
    const id = plainId(idText);
    const waiting = this.#waiting.get(id);
    if (!waiting) return false;
    this.#waiting.delete(id);
    waiting.resolve(answer);
    return true;
  }

  /** Passes on the progress of a client with a question; `token` is the raw text of the question's id. */
  progress(token: string, params: string): void {
    this.#waiting.get(plainId(token))?.progress?.(params);
  }

  /** Rejects all questions, those to come too: the client has gone, or `why` it cannot answer any more. */
  close(why = gone()): void {
    this.#closed ??= why;
    for (const { reject } of this.#waiting.values()) reject(this.#closed);
  }
}

const gone = (): Failure => new Failure("cancelled", "The client is no longer there to be asked.");
