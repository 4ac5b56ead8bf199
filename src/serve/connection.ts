import type { Ender } from "../core/cancel.ts";
import { Call } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { type ClientAnswer, type Era, noCapabilities, type Revision } from "../core/inbound.ts";
import type { Presented } from "../core/ports.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { handle } from "../gateway/handle.ts";
import type { WireContext } from "../mcp/classify.ts";
import { negotiate } from "../mcp/handshake.ts";
import { isBatch } from "../mcp/message.ts";
import { notificationText } from "../mcp/outbound.ts";
import { Session } from "../session/session.ts";
import { Backlog } from "../session/streams.ts";
import type { Traffic } from "../session/traffic.ts";
import { allLists } from "./endpoint.ts";
import { answerText } from "./reply.ts";
import type { Running } from "./running.ts";
import { noteEnded, noteOpened } from "./session-notes.ts";
import { cancelledId, isStanding, receive, receiveBatch, type Received, takesBatches, unreadable } from "./wire.ts";

export type ConnectionOptions = Presented & {
  current: () => Gateway;
  running: Running;
  traffic: Traffic;
  /** The endpoint that was opened; null for all servers. */
  scope?: string | null;
  /** The era that the transport allows; by default the opening message chooses. */
  era?: Era;
  /** Writes one message to the client; one that need not arrive may be dropped where the client is slow. */
  send: (message: string, must: boolean) => void;
};

/**
 * One client with a connection of its own: standard streams, the control socket, the old event stream with its POSTs,
 * a WebSocket. Messages in by `receive`, answers out by `send`; ends with `close`.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #calls = new Map<string, Ender>();
  #era: Era | null;
  #revision: Revision | null = null;
  #session: Session | null = null;
  #leave: () => void = () => {};
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#era = options.era ?? null;
  }

  /** Resolves when the message has been dealt with; never throws. `presented` is what came with it alone. */
  async receive(text: string, presented: Presented = this.#options): Promise<void> {
    const gw = this.#options.current();
    if (isBatch(text) && takesBatches(this.#revision)) return this.#batch(gw, text, presented);
    const answer = await this.#exchange(gw, this.#read(gw, text), presented);
    if (answer !== null) this.#send(answer, true);
  }

  /** The client has gone: what it waits for is cancelled. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const controller of this.#calls.values()) controller.abort();
    this.#end();
  }

  /** Each message walks the path on its own, the answers come as one array (2025-03-26, batching). */
  async #batch(gw: Gateway, text: string, presented: Presented): Promise<void> {
    let all: readonly Received[];
    try {
      checkSize(gw, text);
      all = receiveBatch(text, gw, this.#context());
    } catch (error) {
      const fault = { inbound: unreadable("", null), fault: asFailure(error) };
      const answer = await this.#exchange(gw, fault, presented);
      return this.#send(answer ?? "", true);
    }
    const answers = await Promise.all(all.map((one) => this.#exchange(gw, one, presented)));
    const given = answers.filter((answer) => answer !== null);
    if (given.length > 0) this.#send(`[${given.join(",")}]`, true);
  }

  /** Resolves to the answer, null where there is none. */
  async #exchange(gw: Gateway, received: Received, presented: Presented): Promise<string | null> {
    const { inbound } = received;
    const { kind, idText, method, answer } = inbound;
    if (kind === "notification" && method === "notifications/cancelled") {
      this.#calls.get(cancelledId(inbound))?.abort();
    }
    const call = this.#callOf(gw, received, presented);
    const { controller } = call;
    const open = kind === "request" && idText !== null ? idText : null;
    if (open !== null) this.#calls.set(open, controller);
    await handle(gw, call);
    this.#options.running.delete(controller);
    if (open !== null && this.#calls.get(open) === controller) this.#calls.delete(open);
    if (kind === "request") {
      if (!call.failure) await this.#pin(gw, call);
      return answerText(call, gw.identity);
    }
    if (answer && !call.failure) this.#answered(idText, answer);
    return null;
  }

  #callOf(gw: Gateway, { inbound, fault }: Received, presented: Presented): Call {
    const { running, scope = null } = this.#options;
    const session = this.#session;
    const controller = running.add();
    if (isStanding(inbound)) running.stand(controller);
    const speaks = session !== null || inbound.progressToken !== null || inbound.logLevel !== null;
    return new Call({
      id: gw.nextId(),
      at: gw.clock.now(),
      started: gw.clock.mono(),
      inbound,
      fault,
      session,
      scope,
      source: presented.source,
      credentials: presented.credentials,
      vouched: presented.vouched,
      controller,
      emit: speaks || isStanding(inbound) ? (message) => this.#send(message, false) : null,
      ask: session && ((request, signal) => session.ask(request, signal, (message) => this.#send(message, true))),
    });
  }

  #read(gw: Gateway, text: string): Received {
    try {
      checkSize(gw, text);
    } catch (error) {
      return { inbound: unreadable(text, null), fault: asFailure(error) };
    }
    return receive(text, gw, this.#context());
  }

  #context(): WireContext {
    return { transport: "stdio", headers: null, pinned: this.#era, revision: this.#revision };
  }

  /** The opening message decides the era of the connection; `server/discover` only asks (PROTOCOL: era detection). */
  async #pin(gw: Gateway, call: Call): Promise<void> {
    const { method, era } = call.inbound;
    if (method !== "server/discover") this.#era ??= era;
    if (method !== "initialize") return;
    try {
      await this.#open(gw, call);
    } catch (error) {
      call.failure = asFailure(error);
    }
  }

  /** A client that has initialized gets a session, and hears what it is told outside any call. */
  async #open(gw: Gateway, { who, inbound, source }: Call): Promise<void> {
    const { scope = null, traffic } = this.#options;
    if (!who || this.#closed) return;
    this.#end();
    const revision = (this.#revision = negotiate(inbound.params.protocolVersion));
    const session = new Session({
      owner: who.id,
      revision,
      capabilities: inbound.capabilities ?? noCapabilities,
      scope,
      backlog: new Backlog(),
      traffic,
      now: gw.clock.mono(),
    });
    await noteOpened(gw, session, inbound);
    this.#session = session;
    const tell = (method: string, params: string | null) => this.#send(notificationText(method, params), false);
    this.#leave = gw.audience.join(who, source, { lists: allLists, scope }, tell, session);
  }

  #answered(idText: string | null, answer: ClientAnswer): void {
    if (this.#session) this.#session.answered(idText, answer);
    else this.#options.traffic.stray++;
  }

  /** The session ends, because the client has gone or opens another. */
  #end(): void {
    this.#leave();
    this.#leave = () => {};
    this.#session?.end();
    if (this.#session) noteEnded(this.#options.current(), this.#session, "closed");
    this.#session = null;
  }

  #send(message: string, must: boolean): void {
    if (!this.#closed) this.#options.send(message, must);
  }
}

function checkSize(gw: Gateway, text: string): void {
  const { body } = gw.shape;
  if (text.length <= body) return;
  throw new Failure("body-too-large", `The message is longer than the ${body} bytes that limits.body allows.`);
}
