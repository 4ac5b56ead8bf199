import type { List } from "../../core/list.ts";
import { type Inbox, receive } from "../link/inbox.ts";
import type { Peer } from "../link/link.ts";
import { Outside } from "../link/outside.ts";
import { createStrayCount, flood } from "../link/strays.ts";
import { holdGetStream } from "./get-stream.ts";
import type { Sent, StreamContext } from "./sent.ts";

/** With the requests that a message on the session's stream can be about, and the way to end the link. */
type SessionContext = StreamContext & {
  readonly open: List<Sent>;
  fail(reason: string): void;
};

/** The stream on which a legacy server speaks outside of any request, held open for the present session. */
export class SessionStream {
  readonly #context: SessionContext;
  /** Whether the stream is wanted: the configuration can turn it off, and a probe needs none. */
  readonly #wanted: boolean;
  #reading: AbortController | null = null;
  /** The questions that the server asks in the present session outside of calls. */
  #outside: Outside | null = null;
  /** Streams that are open. */
  streams = 0;

  constructor(wanted: boolean, context: SessionContext) {
    this.#wanted = wanted;
    this.#context = context;
  }

  /** Begins to listen in the session that was just opened. */
  listen(peer: Peer): void {
    this.close();
    const { host, wire, longest } = this.#context;
    if (!this.#wanted || wire.session === null) return;
    this.#reading = new AbortController();
    this.#outside = host.asked && new Outside(host.asked);
    const inbox = this.#createInbox(peer);
    const received = (text: string): void => receive(text, host, inbox);
    const open = (lastId: string | null, signal: AbortSignal) => wire.get(peer, lastId, signal);
    const spec = { open, reading: { longest, received }, signal: this.#reading.signal };
    void holdGetStream(spec, (isOpen) => (this.streams += isOpen ? 1 : -1));
  }

  /** Listens no more, and withdraws the questions that are open. */
  close(): void {
    this.#reading?.abort();
    this.#outside?.close();
  }

  #createInbox(peer: Peer): Inbox {
    const { host, open, issued, fail, reply } = this.#context;
    const stray = createStrayCount(host.dropped, () => fail(flood));
    const answer = (): void => stray("an answer on the stream that carries none");
    return {
      answer,
      anonymous: answer,
      broken: () => {},
      find: (token) => open.items.find(({ id }) => String(id) === token)?.exchange,
      issued,
      stray,
      open: () => open.items.map(({ exchange }) => exchange),
      outside: this.#outside,
      reply: (text) => reply(text, peer),
    };
  }
}
