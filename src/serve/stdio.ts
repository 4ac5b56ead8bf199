import { Call } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Era, Inbound, Revision } from "../core/inbound.ts";
import type { Credential, Principal, Source } from "../core/principal.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { handle } from "../gateway/handle.ts";
import { readInbound } from "../mcp/classify.ts";
import { negotiate } from "../mcp/handshake.ts";
import { cancelledId, unreadable } from "./endpoint.ts";
import { answerText } from "./reply.ts";
import type { Running } from "./running.ts";

export type StdioOptions = {
  current: () => Gateway;
  running: Running;
  source: Source;
  /** What the client presents with every message; empty when the transport vouches for it. */
  credentials: readonly Credential[];
  vouched: Principal | null;
  /** Writes one message to the client. */
  send: (message: string) => void;
};

/** One stdio client: messages in by `receive`, answers out by `send`; ends with `close`. */
export class StdioConnection {
  readonly #options: StdioOptions;
  readonly #calls = new Map<string, AbortController>();
  #era: Era | null = null;
  #revision: Revision | null = null;
  #closed = false;

  constructor(options: StdioOptions) {
    this.#options = options;
  }

  /** Resolves when the message has been dealt with; never throws. */
  async receive(text: string): Promise<void> {
    const { running, current } = this.#options;
    const gw = current();
    const started = gw.clock.mono();
    const { inbound, fault } = this.#read(gw, text);
    if (inbound.kind === "notification" && inbound.method === "notifications/cancelled") {
      this.#calls.get(cancelledId(inbound) ?? "")?.abort();
    }
    const controller = running.add();
    if (inbound.idText !== null) this.#calls.set(inbound.idText, controller);
    const call = new Call({
      ...this.#options,
      id: gw.nextId(),
      at: gw.clock.now(),
      started,
      inbound,
      fault,
      session: null,
      controller,
      emit: inbound.progressToken === null ? null : (message) => this.#send(message),
    });
    await handle(gw, call);
    running.delete(controller);
    if (inbound.idText !== null && this.#calls.get(inbound.idText) === controller) this.#calls.delete(inbound.idText);
    if (inbound.kind !== "request") return;
    if (!call.failure) this.#pin(inbound);
    const answer = answerText(call, gw.identity);
    if (answer !== null) this.#send(answer);
  }

  /** Tells a legacy client that its tools have changed; a modern one learns it by listening. */
  toolsChanged(message: string): void {
    if (this.#era === "legacy") this.#send(message);
  }

  /** The client has gone: what it waits for is cancelled. */
  close(): void {
    this.#closed = true;
    for (const controller of this.#calls.values()) controller.abort();
  }

  #read(gw: Gateway, text: string): { inbound: Inbound; fault: Failure | null } {
    try {
      if (text.length > gw.shape.body) {
        throw new Failure(
          "body-too-large",
          `The message is longer than the ${gw.shape.body} bytes that limits.body allows.`,
        );
      }
      const context = { transport: "stdio", headers: null, pinned: this.#era, revision: this.#revision } as const;
      return { inbound: readInbound(text, gw.shape, context), fault: null };
    } catch (error) {
      return { inbound: unreadable(text, null), fault: asFailure(error) };
    }
  }

  /** The opening message decides the era of the connection; `server/discover` only asks (PROTOCOL: era detection). */
  #pin(inbound: Inbound): void {
    if (inbound.method === "initialize") this.#revision = negotiate(inbound.params.protocolVersion);
    if (inbound.method !== "server/discover") this.#era ??= inbound.era;
  }

  #send(message: string): void {
    if (!this.#closed) this.#options.send(message);
  }
}
