import { Failure } from "../../core/failure.ts";
import { headroom } from "../../mcp/message.ts";
import { cancelledParams, notificationText, requestText } from "../../mcp/outbound.ts";
import { faults, reasonOf } from "../faults.ts";
import { AmbiguousQuestions } from "./ambiguous-questions.ts";
import { Exchange, type GaveUp, isIssued, tooLarge } from "./exchange.ts";
import { createFloodGuard, floodReason } from "./flood.ts";
import { type Inbox, receive } from "./inbox.ts";
import type { Answer, End, Link, LinkHost, LinkRequest } from "./link.ts";
import { OutsideCalls } from "./outside-calls.ts";

/** A stream of messages both ways, answers in any order: a child's pipes, a socket, an event stream with POSTs. */
export type Pipe = {
  readonly pid: number | null;
  /** Takes a message without waiting; false if too much is waiting already. */
  write(key: string, text: string): boolean;
  /** Resolves once the server has received an answer that was written, or cannot; absent if messages stay in order. */
  taken?(key: string): Promise<void>;
  /** Returns why nothing can be sent yet; null once it is open, absent if it always is. */
  shut?(): string | null;
  /** Takes a message back; true if it was not sent yet, so the server never saw it. */
  take(key: string): boolean;
  /** Ends the pipe; resolves once nothing of it is left. */
  close(end: End): Promise<void>;
};

/** The events that a pipe reports. */
export type PipeEvents = {
  /** Returns the current maximum size of a message, bytes; a longer one ends the pipe. */
  longest(): number;
  received(text: string): void;
  /** Reports that the message written under this key did not arrive. */
  failed(key: string, error: Error): void;
  /** Reports that the pipe broke. */
  ended(why: string | Failure): void;
};

const minMessageCap = 16 * 1024 ** 2;

/** Prefixes of the keys of messages that are not requests; the key of a request is its id. */
const keys = { reply: "reply-", notification: "notification-" };
/** Reports whether this is the key of an answer to the server, or of its progress. */
export const isReply = (key: string): boolean => key.startsWith(keys.reply);
/** Reports whether this is the key of a notification. */
export const isNotification = (key: string): boolean => key.startsWith(keys.notification);

/** A request that waits for its answer. */
class PipeExchange extends Exchange {
  readonly answer = Promise.withResolvers<Answer>();
  readonly #link: PipeLink;

  constructor(id: number, request: LinkRequest, link: PipeLink) {
    super(id, request);
    this.#link = link;
  }

  protected giveUp(why: GaveUp): void {
    this.#link.giveUp(this, why);
  }
}

/** Opens a pipe and assigns its messages to requests by the link's own ids. Throws what `open` throws. */
export class PipeLink implements Link {
  readonly #ended = Promise.withResolvers<End>();
  readonly ended = this.#ended.promise;
  readonly streams = 0;
  readonly host: LinkHost;
  readonly #pipe: Pipe;
  readonly #inbox: Inbox;
  readonly #outside: OutsideCalls;
  readonly #ambiguous = new AmbiguousQuestions();
  readonly #open = new Map<string, PipeExchange>();
  readonly #gone: Promise<void>;
  #last = 0;
  over: End | null = null;

  constructor(host: LinkHost, open: (events: PipeEvents) => Pipe) {
    this.host = host;
    this.#outside = new OutsideCalls(host.asker);
    this.#inbox = this.#createInbox();
    this.#pipe = open({
      longest: () => Math.max(minMessageCap, host.limits().result) + headroom,
      received: (text) => {
        if (!this.over) receive(text, this.host, this.#inbox);
      },
      failed: (key, error) => this.#settle(key, error),
      ended: (why) => {
        const end = why instanceof Failure ? { reason: reasonOf(why), fault: why } : { reason: why };
        this.#finish({ expected: false, ...end });
      },
    });
    this.#gone = this.ended.then((end) => this.#pipe.close(end));
  }

  get pid(): number | null {
    return this.#pipe.pid;
  }

  request(request: LinkRequest): Promise<Answer> {
    if (this.over) return Promise.reject(this.#unsent(this.over));
    if (request.signal.aborted) return Promise.reject(faults.cancelled());
    const id = ++this.#last;
    const key = String(id);
    if (!this.#pipe.write(key, requestText(id, request.method, request.params(id)))) {
      return Promise.reject(this.#untaken());
    }
    const exchange = new PipeExchange(id, request, this);
    this.#open.set(key, exchange);
    return exchange.answer.promise;
  }

  async notify(method: string, params: string | null): Promise<void> {
    if (!this.over) this.#pipe.write(`${keys.notification}${++this.#last}`, notificationText(method, params));
  }

  fail(reason: string): void {
    this.#finish({ expected: false, reason });
  }

  close(): Promise<void> {
    this.#finish({ expected: true, reason: "it was stopped" });
    return this.#gone;
  }

  giveUp({ id, request, limit }: Exchange, why: GaveUp): void {
    const key = String(id);
    const unseen = this.#pipe.take(key);
    if (!unseen && request.method !== "initialize") {
      const own = why === "timeout" ? "timed out" : "cancelled";
      void this.notify("notifications/cancelled", cancelledParams(key, request.signal.reason, own));
    }
    if (why === "cancelled") return this.#settle(key, faults.cancelled());
    this.#settle(key, unseen ? this.#untaken() : faults.timeout(this.host.server, limit));
  }

  /** Returns the failure of a message that could not be sent. */
  #untaken(): Failure {
    const { server } = this.host;
    const shut = this.#pipe.shut?.() ?? null;
    return shut === null ? faults.full(server, "it does not read its input") : faults.down(server, shut);
  }

  #settle(key: string, result: Answer | Error): void {
    const exchange = this.#open.get(key);
    if (!exchange) return;
    this.#open.delete(key);
    exchange.close();
    if (result instanceof Error) exchange.answer.reject(result);
    else exchange.answer.resolve(result);
    this.#ambiguous.ended(exchange, !(result instanceof Error));
  }

  #createInbox(): Inbox {
    const { dropped } = this.host;
    const guard = createFloodGuard(dropped, () => this.fail(floodReason));
    const issued = (id: string): boolean => isIssued(id, this.#last);
    return {
      ...guard,
      answer: (idText, answer) => {
        if (idText === null) return guard.stray("an error without an id");
        if (!this.#open.has(idText)) {
          if (!issued(idText)) return guard.stray("an answer to an unknown request");
          guard.unrelated();
          return dropped("a late answer");
        }
        this.#settle(idText, tooLarge(answer, this.host) ?? answer);
      },
      broken: (idText, why) => this.#settle(idText, why),
      find: (id) => this.#open.get(id),
      issued,
      open: () => this.#open.values(),
      outside: this.#outside,
      ambiguous: this.#ambiguous,
      reply: (text) => {
        const key = `${keys.reply}${++this.#last}`;
        if (this.#pipe.write(key, text)) return this.#pipe.taken?.(key);
        dropped("an answer that the server does not accept");
      },
    };
  }

  #finish(end: End): void {
    if (this.over) return;
    this.over = end;
    this.#outside.close();
    this.#ambiguous.close();
    for (const key of this.#open.keys()) {
      this.#settle(key, this.#pipe.take(key) ? this.#unsent(end) : faults.lost(this.host.server, end.reason));
    }
    this.#ended.resolve(end);
  }

  /** Returns the failure of a request that was never sent. */
  #unsent({ reason, fault }: End): Failure {
    return fault?.detail.ran === "no" ? fault : faults.down(this.host.server, reason);
  }
}
