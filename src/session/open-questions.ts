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

const maxPending = 64;
/** Ids start below this value, so that they fit into the 32 bits that some clients use. */
const firstBelow = 2 ** 30;

/** The open questions to one legacy client. The gateway chooses their ids and matches answers by them. */
export class OpenQuestions {
  readonly #waiting = new Map<string, Waiting>();
  readonly #traffic: Traffic;
  /** Random at first: after a second `initialize`, answers to earlier questions must not match those of the session. */
  #last = randomInt(firstBelow);
  /** Why no more questions can be asked; null while they can. */
  #closed: Failure | null = null;

  constructor(traffic: Traffic) {
    this.#traffic = traffic;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Sends a request to the client with `send` and resolves with its answer; `signal` limits the wait. Rejects with
   * `cancelled` if `signal` fires or the client has gone, with `overloaded` if too many questions are open, and with
   * the failure passed to `close`. If `signal` fires, the client is notified that the request is cancelled.
   */
  async ask(
    { method, params, progress }: InputRequest,
    signal: AbortSignalLike,
    send: (message: string) => void,
  ): Promise<ClientAnswer> {
    if (this.#closed) throw this.#closed;
    if (signal.aborted) throw gone();
    if (this.#waiting.size >= maxPending) {
      throw new Failure("overloaded", `The client already has ${maxPending} unanswered questions.`);
    }
    // A number, because some clients (langchain4j) read every id as a number and answer a string id under 0.
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

  /** Passes an answer to its question; returns false if no open question has this id. */
  answer(idText: string, answer: ClientAnswer): boolean {
    const id = plainId(idText);
    const waiting = this.#waiting.get(id);
    if (!waiting) return false;
    this.#waiting.delete(id);
    waiting.resolve(answer);
    return true;
  }

  /** Passes on a client's progress on a question; `token` is the raw text of the question's id. */
  progress(token: string, params: string): void {
    this.#waiting.get(plainId(token))?.progress?.(params);
  }

  /** Rejects all open and future questions with `why`; by default, because the client has gone. */
  close(why = gone()): void {
    this.#closed ??= why;
    for (const { reject } of this.#waiting.values()) reject(this.#closed);
  }
}

const gone = (): Failure => new Failure("cancelled", "The client can no longer be asked.");
