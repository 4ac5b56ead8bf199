import type { List } from "../../core/linked-list.ts";
import { sleep } from "../../core/wait.ts";
import type { Resumption } from "../../mcp/sse.ts";
import { Backoff } from "../backoff.ts";
import { reasonOf, unsent } from "../faults.ts";
import { createFloodGuard, floodReason } from "../link/flood.ts";
import { initialize } from "../link/handshake.ts";
import { type Inbox, receive } from "../link/inbox.ts";
import type { Link, Peer } from "../link/link.ts";
import { OutsideCalls } from "../link/outside-calls.ts";
import { query } from "../link/query.ts";
import { discard } from "./answer.ts";
import { isEventStream, readEvents, silentMs, type StreamContext } from "./event-stream.ts";
import type { HttpExchange } from "./http-exchange.ts";
import { isRefusal } from "./lost-session.ts";
import type { Place } from "./wire.ts";

const handshakeMs = 30_000;
/** Maximum time for a server to show whether it knows the session, ms. */
const pingMs = 5_000;
/** Number of consecutive refusals that prompt a check of whether the session is the reason. */
const doubtful = 3;
/** The status of a server that believes an earlier stream of the session to be still open. */
const conflict = 409;
/** The status of a server without such a stream. */
const notServed = 405;

type SessionContext = StreamContext & {
  readonly link: Link;
  /** The requests that a message on the session's own stream may belong to. */
  readonly open: List<HttpExchange>;
  /** Whether to open that stream: the configuration can turn it off, and a probe does not need it. */
  readonly getStream: boolean;
};

/**
 * The session of a link to a legacy server. Holds the stream open on which the server sends messages outside of
 * requests, and opens a new session if the server no longer knows the current one, or may not.
 */
export class HttpSession {
  readonly #context: SessionContext;
  #reading: AbortController | null = null;
  /** The questions that the server asks in the current session outside of calls. */
  #outside: OutsideCalls | null = null;
  /** Number of consecutive refused requests of the session whose refusals do not mention it. */
  #refusals = 0;
  /** Settles like the running renewal; null if none is running. */
  renewal: Promise<void> | null = null;
  /** Number of open streams. */
  streams = 0;
  /** Resolves once the stream of the current session is open, or will not be. */
  listening: Promise<void> = Promise.resolve();

  constructor(context: SessionContext) {
    this.#context = context;
  }

  /** Starts to listen in the session that was just opened. */
  listen(peer: Peer): void {
    this.close();
    const { host, wire, getStream } = this.#context;
    const place = { peer, session: wire.session };
    if (!getStream || place.session === null) return;
    this.#reading = new AbortController();
    this.#outside = new OutsideCalls(host.asker);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.listening = promise;
    void this.#holdStream(place, this.#reading.signal, resolve).then(resolve);
  }

  /**
   * Keeps the stream for messages outside of requests open until the signal aborts; never throws. Stops for good if the
   * first attempt is refused (4xx); reopens a broken stream with backoff.
   */
  async #holdStream(place: Place, signal: AbortSignal, opened: () => void): Promise<void> {
    const { host, wire, longest } = this.#context;
    const inbox = this.#createInbox(place);
    const reading = { longest, silence: silentMs, received: (text: string) => receive(text, host, inbox) };
    const backoff = new Backoff();
    let wasOpen = false;
    let lastId: string | null = null;
    let retry: number | null = null;
    while (!signal.aborted) {
      backoff.begin();
      const response: Response | null = await wire.get(place, lastId, signal).catch(() => null);
      if (response && isEventStream(response)) {
        wasOpen = true;
        this.streams++;
        opened();
        const end: Resumption | null = await readEvents(response, reading).catch(() => null);
        this.streams--;
        // The event that was too long would arrive again, and so would those before it.
        lastId = end && (end.lastId ?? lastId);
        retry = end?.retry ?? retry;
      } else if (response) {
        discard(response);
        const { status } = response;
        if (status !== conflict) {
          if (status === notServed || (status < 500 && !wasOpen)) return;
          // A server that cannot resume the stream may still start a new one, but may also have lost the session.
          lastId = null;
          if (status < 500) await this.lookAfter(place.peer);
        }
      }
      await sleep(backoff.next(retry), signal);
    }
  }

  /** Stops listening and withdraws the open questions. */
  close(): void {
    this.#reading?.abort();
    this.#outside?.close();
  }

  #createInbox(place: Place): Inbox {
    const { host, open, issued, link, reply } = this.#context;
    const guard = createFloodGuard(host.dropped, () => link.fail(floodReason));
    return {
      ...guard,
      answer: () => guard.stray("an answer on the stream that carries no answers"),
      broken: () => {},
      find: (token) => open.items.find(({ id }) => String(id) === token),
      issued,
      open: () => open.items,
      outside: this.#outside,
      reply: (text) => reply(text, place),
    };
  }

  /** Sends a ping in the session, which renews a lost session. */
  async lookAfter(peer: Peer): Promise<void> {
    const { link, host } = this.#context;
    const timeout = Math.min(pingMs, host.timeout());
    await query(link, { method: "ping", peer, timeout }).catch(() => {});
  }

  /** Records how a request was answered. A server may use its own words to say that it does not know the session. */
  note(status: number, { request, session }: HttpExchange): void {
    if (session === null || session !== this.#context.wire.session) return;
    if (status < 300) this.#refusals = 0;
    // Some servers refuse every ping, and health checks send nothing else: that alone is not a reason.
    else if (!isRefusal(status) || (request.method === "ping" && this.#refusals < doubtful)) return;
    else if (++this.#refusals === doubtful) void this.#doubt(session, request.peer);
  }

  /** Renews a session that refuses a ping too; not again until it accepts something, as it may not be the reason. */
  async #doubt(session: string, peer: Peer): Promise<void> {
    await this.lookAfter(peer);
    if (this.#refusals > doubtful) await this.renew(session, false).catch(() => {});
  }

  /**
   * Opens a new session in place of `lost`; all requests that lost the same session share the new one. Unless it is
   * surely lost, the session is kept if the server does not open another.
   */
  async renew(lost: string | null, surely = true): Promise<void> {
    if (this.#context.wire.session === lost) {
      this.renewal ??= this.#handshakeAgain(surely).finally(() => (this.renewal = null));
    }
    await this.renewal;
  }

  async #handshakeAgain(surely: boolean): Promise<void> {
    const { link, host, wire } = this.#context;
    if (surely) {
      this.close();
      wire.openSession(null);
    }
    const { session } = wire;
    try {
      host.renewed(await initialize(link, Math.min(handshakeMs, host.timeout())));
    } catch (error) {
      // A refusal with a success status did not change the session.
      if (!surely && (wire.session ?? session) === session) return wire.openSession(session);
      // Without a session, all further requests here would be refused; the next link opens one.
      const reason = `it does not open a new session (${reasonOf(error)})`;
      link.fail(reason);
      throw unsent(host.server, error, reason);
    }
  }
}
