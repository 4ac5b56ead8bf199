import { abortSignalOf, type AbortSignalLike } from "../core/cancel.ts";
import { Failure } from "../core/failure.ts";
import type { ClientAnswer, Inbound, InputRequest } from "../core/inbound.ts";
import type { Principal } from "../core/principal.ts";
import { failureMessage } from "../mcp/reply.ts";
import { encodeEvent } from "../mcp/sse.ts";
import type { Session } from "../session/session.ts";
import type { StreamLog } from "../session/streams.ts";
import { namesEvents, acceptsEvents } from "./accept.ts";
import { EventStream } from "./event-stream.ts";
import type { HttpRequest } from "./http-request.ts";
import type { Sending } from "./queue-limits.ts";
import { type Received, expectsMessages } from "./receive.ts";
import { refusal } from "./reply.ts";

/** The first revision whose clients accept an event without a message (2025-11-25, transports). */
const primed = "2025-11-25";

/** Whether the session's client is sent an event id before the first message. */
export function acceptsPriming({ revision }: Session): boolean {
  return revision >= primed;
}

/** Whether the answer may be the last event of a stream. The answer to `initialize` may not: it carries a header. */
const mayStream = ({ inbound: { kind, method }, fault }: Received): boolean =>
  !fault && kind === "request" && method !== "initialize";

/** Whether the client can be sent messages before the answer. */
export function maySendMessages(received: Received, session: Session | null, headers: Headers): boolean {
  return mayStream(received) && acceptsEvents(headers) && (session !== null || expectsMessages(received.inbound));
}

/** Whether the stream may be opened only because the answer takes long. */
export function mayOpenLate(received: Received, headers: Headers): boolean {
  return mayStream(received) && namesEvents(headers);
}

/**
 * The response to a POST: plain JSON, or an event stream if a message is sent before the answer. The events of a
 * session's stream are numbered and kept, so that a disconnected client can resume it.
 */
export class PostStream {
  readonly #who: Principal;
  readonly #session: Session | null;
  readonly #sending: Sending;
  readonly #answered = Promise.withResolvers<Response>();
  #stream: EventStream | null = null;
  #log: StreamLog | null = null;
  /** Withdraws the open questions of calls that have ended. */
  #asking: AbortController | null = null;
  /** The POST has its answer; later messages of its call, such as from a server started for it, are dropped. */
  #over = false;

  constructor(who: Principal, session: Session | null, sending: Sending) {
    this.#who = who;
    this.#session = session;
    this.#sending = sending;
  }

  /** Resolves to the stream if one is opened, else to the answer to the POST. */
  get response(): Promise<Response> {
    return this.#answered.promise;
  }

  get opened(): boolean {
    return this.#stream !== null;
  }

  open(): EventStream {
    return (this.#stream ??= this.#opened());
  }

  /** Opens the stream if the answer takes long: proxies close silent connections, and the answer would be lost. */
  openLater(request: HttpRequest, ended: Promise<unknown>): void {
    request.onLong = () => {
      // The call counts as a connection until it has ended, even if its client leaves the stream.
      request.call = ended;
      this.open();
    };
  }

  /** Sends a message. Without `must` it is dropped if the client is too slow. */
  readonly emit = (message: string, must = false): void => {
    if (this.#over) return;
    const stream = this.open();
    if (this.#log) this.#log.write(message, must);
    else stream.write(encodeEvent(message), must);
  };

  /** Sends a request to the session's client; see `OpenQuestions.ask`. */
  async ask(session: Session, request: InputRequest, signal: AbortSignalLike): Promise<ClientAnswer> {
    if (this.#over) throw new Failure("cancelled", "The call that this question to the client belongs to has ended.");
    this.#asking ??= new AbortController();
    const either = AbortSignal.any([abortSignalOf(signal), this.#asking.signal]);
    return session.questions.ask(request, either, (message) => this.emit(message, true));
  }

  /** Ends the open stream with a last message; null for none. */
  close(answer: string | null, now: number): void {
    this.#asking?.abort();
    if (answer !== null && !this.#log) this.emit(answer, true);
    this.#over = true;
    if (this.#log) this.#log.end(answer, now);
    else this.#stream?.close();
  }

  /** Ends with a failure if `close` or `respond` could not: otherwise the client would wait forever. */
  fail(failure: Failure, inbound: Inbound | null, now: number): void {
    if (this.opened) this.close(failureMessage(failure, inbound), now);
    else this.respond(refusal(failure));
  }

  /** Answers with `response`; no stream may have been opened. */
  respond(response: Response): void {
    this.#asking?.abort();
    this.#over = true;
    this.#answered.resolve(response);
  }

  #opened(): EventStream {
    const stream: EventStream = new EventStream(this.#who, this.#sending, () => this.#log?.leave(stream));
    if (this.#session) {
      this.#log = this.#session.streams.open();
      this.#log.readBy(stream);
      if (acceptsPriming(this.#session)) this.#log.prime();
    }
    this.#answered.resolve(stream.response);
    return stream;
  }
}
