import { Busy } from "../core/busy.ts";
import type { Call, ClientSession, IdentifiedCall } from "../core/call.ts";
import { type AbortSignalLike, endingWith, onAbort } from "../core/cancel.ts";
import { Failure, failureFrom } from "../core/failure.ts";
import type { Era, Revision } from "../core/inbound.ts";
import { mustDeliver } from "../core/lists.ts";
import type { Presented } from "../core/ports.ts";
import { mapInTurns } from "../core/turns.ts";
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
import { isStanding, receive, type Received, refused, unreadable, expectsMessages } from "./receive.ts";
import { announce, runCall } from "./run-call.ts";
import type { Running } from "./running.ts";
import { finishSession, recordOpening } from "./session-records.ts";

export type ConnectionOptions = Presented & {
  current: () => Gateway;
  running: Running;
  traffic: Traffic;
  /** The server or toolset named by the endpoint; null for all servers. */
  scope: string | null;
  /** The only era that the transport allows; by default the first request decides. */
  era?: Era;
  /** Writes one message to the client. Without `must` it may be dropped if the client is slow. */
  send: (message: string, must: boolean) => void;
};

/** How long a connection stays open for the answers to calls that ended with its key, ms. */
const lastAnswersMs = 500;
/** A freeze ends subscriptions at the servers, so sessions must not treat them as active afterwards. */
const unsubscribeOnRevocation = endingWith<Session>((_, session) => session.endSubscriptions());
/** Why a subscription ended that its client did not cancel. */
const ended = "The gateway is stopping, or no longer serves what the subscription was for.";

/**
 * One client with its own connection: standard streams, the control socket, HTTP+SSE of 2024-11-05, or a WebSocket.
 * Incoming messages are passed to `receive`, outgoing ones to `send`; `close` ends the connection.
 */
export class McpConnection {
  /** `outside` holds the running calls that belong to no session. */
  readonly #options: ConnectionOptions & { readonly outside: ClientCalls };
  #era: Era | null;
  #revision: Revision | null = null;
  #session: Session | null = null;
  /** Aborts when the session's client stops receiving messages outside of calls. */
  #hears: AbortSignalLike | null = null;
  /** Settles when the latest opening of a session has finished; the next opening waits for it. */
  #opening: Promise<unknown> = Promise.resolve();
  /** Counts the messages that are being handled. */
  readonly #busy = new Busy();
  /** Counts the same messages without subscriptions, which last as long as their client wants. */
  readonly #owing = new Busy();
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = { ...options, outside: new ClientCalls() };
    this.#era = options.era ?? null;
  }

  /**
   * Handles one message, unless the connection is closed. Resolves once it is handled, and never throws. `presented` is
   * what identifies the sender of this message.
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

  /** Resolves once all received messages except subscriptions are answered. */
  answered(): Promise<void> {
    return this.#owing.idle(null);
  }

  /** Calls `close` once the caller has lost its rights and its calls are answered. Returns a function to stop that. */
  closeOnRevocation(revoked: AbortSignalLike, close: () => void): () => void {
    return onAbort(revoked, () => void this.#busy.idle(lastAnswersMs).then(close));
  }

  /** Refuses questions to the client, because its answers cannot arrive any more. */
  stopAsking(): void {
    this.#session?.stopAsking();
  }

  /** Ends the connection and cancels its calls. `why` is a sentence; omit it if the client itself disconnected. */
  close(why?: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.outside.cancelAll(why);
    this.#end("closed", why);
  }

  /** Ends a connection that was closed because of a message so long that none of it was read. */
  closeOversized(): void {
    const why = "Its connection was closed because another message on it was much longer than limits.body allows.";
    this.#broke({ inbound: unreadable(null), fault: tooLong(this.#options.current()) }, why);
  }

  /** Ends a connection that was closed because the client violated the transport's protocol; `why` is a sentence. */
  breach(why: string): void {
    this.#broke({ inbound: unreadable(null), fault: new Failure("invalid-request", why) }, why);
  }

  /** Records a message that cannot be answered any more, and ends the calls. */
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

  /** Runs each message as its own call; the answers become one array (2025-03-26, batching). */
  async #answerBatch(gw: Gateway, all: readonly Received[], presented: Presented): Promise<string | null> {
    announce(all, this.#session);
    const keep = keepBatch(gw);
    const answers = await mapInTurns(all, async (one) => {
      // The configuration may have been reloaded since the previous message.
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
    // `initialize` replaces the session; registered in the old one, it would be cancelled when that session ends.
    const session = method === "initialize" ? null : this.#session;
    const standing = isStanding(received.inbound);
    if (standing) this.#owing.leave();
    const answer = await runCall(gw, call, session, this.#options).finally(() => {
      if (standing) this.#owing.enter();
    });
    this.#hearAgain(call);
    if (kind !== "request") return null;
    if (method !== "subscriptions/listen" || !call.reply || answer === null) return answer;
    // The connection does not end with the subscription, so a notification also reports its end (2026-07-28,
    // cancellation). Clients take the first of the two messages for how the subscription ended.
    this.#send(answer, true);
    this.#send(notificationText("notifications/cancelled", cancelledParams(idText ?? "null", null, ended)), true);
    return null;
  }

  #callOf(gw: Gateway, received: Received, presented: Presented): Call {
    const { running, scope } = this.#options;
    const { inbound } = received;
    const session = this.#session;
    const speaks = session !== null || expectsMessages(inbound);
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

  /** Fixes the era of the connection at its first readable request, except `server/discover`, which is only a probe. */
  #pin({ inbound: { kind, method, era }, fault }: Received): void {
    if (kind === "request" && !fault && method !== "server/discover") this.#era ??= era;
  }

  /** Opens a session after all earlier openings have finished; each session ends the previous one. */
  #open(gw: Gateway, call: IdentifiedCall, revision: Revision): Promise<ClientSession> {
    const opened = this.#opening.then(() => this.#opened(gw, call, revision));
    this.#opening = opened.catch(() => {});
    return opened;
  }

  /** Opens the session of a client that initializes, and registers it for messages outside of calls. */
  async #opened(gw: Gateway, { inbound, source, who }: IdentifiedCall, revision: Revision): Promise<ClientSession> {
    const { scope, traffic } = this.#options;
    if (this.#closed) throw new Failure("cancelled", "The client has disconnected.");
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
      // The client may have disconnected while the session was being recorded.
      if (this.#closed) throw new Failure("cancelled", "The client has disconnected.");
      this.#hear(gw, session, { who, source });
    } catch (error) {
      this.#end();
      throw error;
    }
    return session;
  }

  /** Registers the client of a session for messages outside of calls. */
  #hear(gw: Gateway, session: Session, { who, source }: Pick<IdentifiedCall, "who" | "source">): void {
    const { capabilities, scope } = session;
    const ask = this.#asks(session);
    const send = (method: string, params: string | null) =>
      this.#send(notificationText(method, params), mustDeliver(method));
    const leave = gw.notifier.join({ who, source, scope, capabilities, lists: allLists, send, session, ask });
    const unwatch = unsubscribeOnRevocation(who.revoked, session);
    session.leave = () => {
      leave();
      unwatch();
    };
    this.#hears = who.revoked;
  }

  /** Registers the client again after a freeze that its connection has survived. */
  #hearAgain({ who, source }: Call): void {
    const session = this.#session;
    if (!session || !who || who.revoked.aborted || !this.#hears?.aborted) return;
    session.leave?.();
    this.#hear(this.#options.current(), session, { who, source });
  }

  /** Returns a function that asks a session's client a question, during a call or outside of calls. */
  #asks(session: Session): NonNullable<Call["ask"]> {
    return (request, signal) => session.questions.ask(request, signal, (message) => this.#send(message, true));
  }

  /** Ends the session because the client has disconnected or opens another; `why` is as for `close`. */
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
