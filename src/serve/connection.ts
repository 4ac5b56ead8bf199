import { Busy } from "../core/busy.ts";
import type { Call, ClientSession, IdentifiedCall } from "../core/call.ts";
import { type AbortSignalLike, endingWith, onAbort } from "../core/cancel.ts";
import { Failure, failureFrom } from "../core/failure.ts";
import type { Era, Revision } from "../core/inbound.ts";
import { mustBeHeard } from "../core/lists.ts";
import type { Presented } from "../core/ports.ts";
import { eachInTurns } from "../core/turns.ts";
import { callOf } from "../gateway/call.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { cancelledParams, notificationText } from "../mcp/outbound.ts";
import { isLonger } from "../mcp/utf8.ts";
import { ClientCalls } from "../session/calls.ts";
import { allLists } from "../session/notifier.ts";
import { Session } from "../session/session.ts";
import { Backlog } from "../session/streams.ts";
import type { Traffic } from "../session/traffic.ts";
import { keepBatch } from "./batch-answers.ts";
import { isStanding, receive, type Received, refused, unreadable, wantsNews } from "./receive.ts";
import { announce, runCall } from "./run-call.ts";
import type { Running } from "./running.ts";
import { finishSession, recordOpening } from "./session-records.ts";

export type ConnectionOptions = Presented & {
  current: () => Gateway;
  running: Running;
  traffic: Traffic;
  /** The server or toolset whose endpoint was opened; null for all servers. */
  scope: string | null;
  /** The only era that the transport allows; without it the first message decides. */
  era?: Era;
  /** Writes one message to the client. Without `must` it may be dropped if the client is slow. */
  send: (message: string, must: boolean) => void;
};

/** How long a connection is kept for the answers to calls that ended with its key, ms. */
const lastAnswers = 500;
/** What a freeze ends at the servers must not pass for subscribed to after it. */
const unsubscribeOnLoss = endingWith<Session>((_, session) => session.endSubscriptions());
/** Why a subscription ended that its client has not cancelled. */
const ended = "The gateway stops, or does not serve any more what was listened to.";

/**
 * One client with its own connection: standard streams, the control socket, the old event stream with its POSTs, a
 * WebSocket. Messages come in by `receive`, answers go out by `send`, `close` ends it.
 */
export class McpConnection {
  /** `outside`: running calls that belong to no session. */
  readonly #options: ConnectionOptions & { readonly outside: ClientCalls };
  #era: Era | null;
  #revision: Revision | null = null;
  #session: Session | null = null;
  /** Aborts when the session's client hears no more of what is said outside of calls. */
  #hears: AbortSignalLike | null = null;
  /** Settles when the latest opening of a session is done; the next opening waits for it. */
  #opening: Promise<unknown> = Promise.resolve();
  /** The messages that are being dealt with. */
  readonly #busy = new Busy();
  /** Those among them that will be answered; a subscription lasts for as long as its client wants. */
  readonly #owing = new Busy();
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = { ...options, outside: new ClientCalls() };
    this.#era = options.era ?? null;
  }

  /**
   * Handles one message, unless the connection is closed; resolves when that is done and never throws. `presented` is
   * what came with this message.
   */
  async receive(text: string, presented: Presented = this.#options): Promise<void> {
    if (this.#closed) return;
    const gw = this.#options.current();
    this.#busy.enter();
    this.#owing.enter();
    try {
      const answer = await this.#answer(gw, text, presented);
      if (answer !== null) this.#send(answer, true);
    } catch (error) {
      failureFrom(error, gw.log);
    } finally {
      this.#busy.leave();
      this.#owing.leave();
    }
  }

  /** Resolves once all that came is answered but subscriptions. */
  answered(): Promise<void> {
    return this.#owing.idle(null);
  }

  /** Calls `close` when the caller loses its rights and its calls have been told so. Returns the way to stop. */
  closeOnLoss(revoked: AbortSignalLike, close: () => void): () => void {
    return onAbort(revoked, () => void this.#busy.idle(lastAnswers).then(close));
  }

  /** Refuses the questions to a client whose answers cannot come any more. */
  stopAsking(): void {
    this.#session?.stopAsking();
  }

  /** The client has gone: cancels all that it waits for. `why` is a sentence, unless that was its own wish. */
  close(why?: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.outside.cancelAll(why);
    this.#end("closed", why);
  }

  /** The client sent a message so long that none of it was read, which closed the connection. */
  overrun(): void {
    const why = "Another message on its connection was much longer than limits.body allows, which closed it.";
    this.#broke({ inbound: unreadable(null), fault: tooLong(this.#options.current()) }, why);
  }

  /** The client broke the rules of the transport, which closed the connection; `why` is a sentence. */
  breach(why: string): void {
    this.#broke({ inbound: unreadable(null), fault: new Failure("invalid-request", why) }, why);
  }

  /** Records what cannot be answered any more, and ends the calls. */
  #broke(received: Received, why: string): void {
    void this.#answerOne(this.#options.current(), received, this.#options);
    this.close(why);
  }

  /** Resolves to the answer to a message or a batch; null if there is none. */
  #answer(gw: Gateway, text: string, presented: Presented): Promise<string | null> {
    const context = { headers: null, pinned: this.#era, revision: this.#revision };
    if (isLonger(text, gw.caps.body)) return this.#answerOne(gw, refused(text, context, tooLong(gw)), presented);
    const received = receive(text, gw, context);
    return Array.isArray(received)
      ? this.#answerBatch(gw, received, presented)
      : this.#answerOne(gw, received, presented);
  }

  /** Each message is a call of its own; the answers become one array (2025-03-26, batching). */
  async #answerBatch(gw: Gateway, all: readonly Received[], presented: Presented): Promise<string | null> {
    announce(all, this.#session);
    const keep = keepBatch(gw);
    const answers = await eachInTurns(all, async (one) => {
      // A reload may have come since the message before.
      const answer = this.#closed ? null : await this.#answerOne(this.#options.current(), one, presented);
      return answer === null ? null : keep(one.inbound, answer);
    });
    const given = answers.filter((answer) => answer !== null);
    return given.length > 0 ? `[${given.join(",")}]` : null;
  }

  /** Resolves to the answer to one message; null if there is none. */
  async #answerOne(gw: Gateway, received: Received, presented: Presented): Promise<string | null> {
    const { kind, method, idText } = received.inbound;
    this.#pin(received);
    const call = this.#callOf(gw, received, presented);
    // `initialize` replaces the session, so it must not be registered in the old one: ending that would cancel it.
    const session = method === "initialize" ? null : this.#session;
    const standing = isStanding(received.inbound);
    if (standing) this.#owing.leave();
    const answer = await runCall(gw, call, session, this.#options).finally(() => {
      if (standing) this.#owing.enter();
    });
    this.#hearAgain(call);
    if (kind !== "request") return null;
    if (method !== "subscriptions/listen" || !call.reply || answer === null) return answer;
    // The connection does not end with the subscription, so that is said besides (2026-07-28, cancellation). Clients
    // take the first of the two for the way in which it ended.
    this.#send(answer, true);
    this.#send(notificationText("notifications/cancelled", cancelledParams(idText ?? "null", null, ended)), true);
    return null;
  }

  #callOf(gw: Gateway, received: Received, presented: Presented): Call {
    const { running, scope } = this.#options;
    const { inbound } = received;
    const session = this.#session;
    const speaks = session !== null || wantsNews(inbound);
    const opens = inbound.method === "initialize";
    return callOf(gw, received, presented, {
      controller: running.add(isStanding(inbound)),
      session,
      scope,
      emit: speaks ? (message, must = false) => this.#send(message, must) : null,
      ask: session && this.#asks(session),
      open: opens ? (call, revision) => this.#open(gw, call, revision) : null,
    });
  }

  /**
   * The first request that can be read decides the era of the connection, except `server/discover`, which only asks
   * (PROTOCOL: era detection).
   */
  #pin({ inbound: { kind, method, era }, fault }: Received): void {
    if (kind === "request" && !fault && method !== "server/discover") this.#era ??= era;
  }

  /** Opens a session after all earlier openings are done; each session ends the one before. */
  #open(gw: Gateway, call: IdentifiedCall, revision: Revision): Promise<ClientSession> {
    const opened = this.#opening.then(() => this.#opened(gw, call, revision));
    this.#opening = opened.catch(() => {});
    return opened;
  }

  /** Opens the session of a client that initializes, and lets it hear what is said outside of calls. */
  async #opened(gw: Gateway, { inbound, source, who }: IdentifiedCall, revision: Revision): Promise<ClientSession> {
    const { scope, traffic } = this.#options;
    if (this.#closed) throw new Failure("cancelled", "The client has gone.");
    this.#end("replaced", "The session was ended by a newer initialize.");
    const opening = { who, revision, scope, capabilities: inbound.capabilities };
    const session = new Session({ ...opening, backlog: new Backlog(), traffic, now: gw.clock.mono() });
    await recordOpening(gw, session, inbound).catch((error: unknown) => {
      session.end();
      throw error;
    });
    this.#session = session;
    this.#revision = revision;
    try {
      // The client may have gone while the session was being recorded.
      if (this.#closed) throw new Failure("cancelled", "The client has gone.");
      this.#hear(gw, session, { who, source });
    } catch (error) {
      this.#end();
      throw error;
    }
    return session;
  }

  /** Lets the client of a session hear what is said outside of calls. */
  #hear(gw: Gateway, session: Session, { who, source }: Pick<IdentifiedCall, "who" | "source">): void {
    const { capabilities, scope } = session;
    const ask = this.#asks(session);
    const send = (method: string, params: string | null) =>
      this.#send(notificationText(method, params), mustBeHeard(method));
    const leave = gw.notifier.join({ who, source, scope, capabilities, lists: allLists, send, session, ask });
    const unwatch = unsubscribeOnLoss(who.revoked, session);
    session.leave = () => {
      leave();
      unwatch();
    };
    this.#hears = who.revoked;
  }

  /** A connection that was kept over a freeze is served again after it: then its client has to hear again too. */
  #hearAgain({ who, source }: Call): void {
    const session = this.#session;
    if (!session || !who || who.revoked.aborted || !this.#hears?.aborted) return;
    session.leave?.();
    this.#hear(this.#options.current(), session, { who, source });
  }

  /** The way to ask a session's client something, during a call or outside of any. */
  #asks(session: Session): NonNullable<Call["ask"]> {
    return (request, signal) => session.questions.ask(request, signal, (message) => this.#send(message, true));
  }

  /** Ends the session, because the client has gone or opens another; `why` as for `close`. */
  #end(reason: "closed" | "replaced" = "closed", why?: string): void {
    const session = this.#session;
    this.#session = null;
    if (!session) return;
    session.end(why);
    finishSession(this.#options.current(), session, reason);
  }

  #send(message: string, must: boolean): void {
    if (!this.#closed) this.#options.send(message, must);
  }
}

const tooLong = ({ caps: { body } }: Gateway): Failure =>
  new Failure("body-too-large", `The message is longer than the ${body} bytes that limits.body allows.`);
