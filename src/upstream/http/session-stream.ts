import type { List } from "../../core/linked-list.ts";
import { type Inbox, receive } from "../link/inbox.ts";
import type { Peer } from "../link/link.ts";
import { OutsideCalls } from "../link/outside-calls.ts";
import { createFloodGuard, floodReason } from "../link/flood.ts";
import { silentMs, type StreamContext } from "./event-stream.ts";
import { holdGetStream } from "./get-stream.ts";
import type { HttpExchange } from "./http-exchange.ts";

/** What the session's stream needs besides. */
type SessionContext = StreamContext & {
  /** The requests that a message on it can be about. */
  readonly open: List<HttpExchange>;
  /** Ends the link. */
  fail(reason: string): void;
  /** Renews the session if it is lost. */
  lookAfterSession(peer: Peer): Promise<void>;
};

/** The stream on which a legacy server speaks outside of any request, held open for the present session. */
export class SessionStream {
  readonly #context: SessionContext;
  /** Whether the stream is wanted: the configuration can turn it off, and a probe needs none. */
  readonly #wanted: boolean;
  #reading: AbortController | null = null;
  /** The questions that the server asks in the present session outside of calls. */
  #outside: OutsideCalls | null = null;
  /** Streams that are open. */
  streams = 0;
  /** Resolves once the stream of the present session is open, or will not be. */
  settled: Promise<void> = Promise.resolve();

  constructor(wanted: boolean, context: SessionContext) {
    this.#wanted = wanted;
    this.#context = context;
  }

  /** Begins to listen in the session that was just opened. */
  listen(peer: Peer): void {
    this.close();
    const { host, wire, longest, lookAfterSession } = this.#context;
    if (!this.#wanted || wire.session === null) return;
    this.#reading = new AbortController();
    this.#outside = new OutsideCalls(host.asker);
    const inbox = this.#createInbox(peer);
    const received = (text: string): void => receive(text, host, inbox);
    const open = (lastId: string | null, signal: AbortSignal) => wire.get(peer, lastId, signal);
    const refused = (): Promise<void> => lookAfterSession(peer);
    const reading = { longest, silence: silentMs, received };
    const spec = { open, reading, refused, signal: this.#reading.signal };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.settled = promise;
    const changed = (isOpen: boolean): void => {
      this.streams += isOpen ? 1 : -1;
      resolve();
    };
    void holdGetStream(spec, changed).then(resolve);
  }

  /** Listens no more, and withdraws the questions that are open. */
  close(): void {
    this.#reading?.abort();
    this.#outside?.close();
  }

  #createInbox(peer: Peer): Inbox {
    const { host, open, issued, fail, reply } = this.#context;
    const guard = createFloodGuard(host.dropped, () => fail(floodReason));
    return {
      ...guard,
      answer: () => guard.stray("an answer on the stream that carries none"),
      broken: () => {},
      find: (token) => open.items.find(({ id }) => String(id) === token),
      issued,
      open: () => open.items,
      outside: this.#outside,
      reply: (text) => reply(text, peer),
    };
  }
}
