import { abortSignalOf, type AbortSignalLike } from "../core/cancel.ts";
import { Failure } from "../core/failure.ts";
import type { ClientAnswer, Inbound, InputRequest } from "../core/inbound.ts";
import type { Principal } from "../core/principal.ts";
import { failureMessage } from "../mcp/reply.ts";
import { encodeEvent } from "../mcp/sse.ts";
import type { Session } from "../session/session.ts";
import type { StreamLog } from "../session/streams.ts";
import { namesEvents, takesEvents } from "./accept.ts";
import { EventStream } from "./event-stream.ts";
import type { HttpRequest } from "./http-request.ts";
import type { Sending } from "./queue-limits.ts";
import { type Received, wantsNews } from "./receive.ts";
import { refusal } from "./reply.ts";

/** The first revision whose clients understand an event without a message (2025-11-25, transports). */
const primed = "2025-11-25";

/** Whether the session's client is sent an event id before the first event. */
export function takesPriming({ revision }: Session): boolean {
  return revision >= primed;
}

/** Whether the answer may be the last event of a stream. Not that to `initialize`, which brings a header. */
const mayStream = ({ inbound: { kind, method }, fault }: Received): boolean =>
  !fault && kind === "request" && method !== "initialize";

/** Whether messages may come before the answer, to a client that can read them. */
export function mayTell(received: Received, session: Session | null, headers: Headers): boolean {
  return mayStream(received) && takesEvents(headers) && (session !== null || wantsNews(received.inbound));
}

/** Whether the stream may be opened only because the answer is long in coming. */
export function mayWait(received: Received, headers: Headers): boolean {
  return mayStream(received) && namesEvents(headers);
}

/**
 * The response to a POST: plain JSON, or an event stream if a message comes before the answer. A session's stream is
 * numbered and kept, so that a client that was cut off may come back for the rest.
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
  /**
   * The POST has its answer: who still holds its call, such as a server that was started for it, reaches nobody here.
   */
  #over = false;

  constructor(who: Principal, session: Session | null, sending: Sending) {
    this.#who = who;
    this.#session = session;
    this.#sending = sending;
  }

  /** The response: the stream if one is opened, else the answer of the POST. */
  get response(): Promise<Response> {
    return this.#answered.promise;
  }

  get opened(): boolean {
    return this.#stream !== null;
  }

  open(): EventStream {
    return (this.#stream ??= this.#opened());
  }

  /** Opens it if nothing comes for long: on a silent connection proxies give up, and the answer is lost. */
  openLater(request: HttpRequest, ended: Promise<unknown>): void {
    request.onLong = () => {
      // The call takes its place until it has ended, also if its client leaves the stream.
      request.call = ended;
      this.open();
    };
  }

  /** Sends a message; without `must` it is dropped if the client is too slow. */
  readonly emit = (message: string, must = false): void => {
    if (this.#over) return;
    const stream = this.open();
    if (this.#log) this.#log.write(message, must);
    else stream.write(encodeEvent(message), must);
  };

  /** Sends a request to the session's client; see `OpenQuestions.ask`. */
  async ask(session: Session, request: InputRequest, signal: AbortSignalLike): Promise<ClientAnswer> {
    if (this.#over) throw new Failure("cancelled", "The call by which the client was to be asked has ended.");
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

  /** Ends with a failure in place of what `close` or `respond` was to say: its reader would wait for ever. */
  fail(failure: Failure, inbound: Inbound | null, now: number): void {
    if (this.opened) this.close(failureMessage(failure, inbound), now);
    else this.respond(refusal(failure));
  }

  /** Answers with this response; no stream was opened. */
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
      if (takesPriming(this.#session)) this.#log.prime();
    }
    this.#answered.resolve(stream.response);
    return stream;
  }
}
