import { Failure } from "../core/failure.ts";
import type { Principal } from "../core/principal.ts";
import { sessionNotFound } from "../gateway/handle.ts";
import { encodeEvent } from "../mcp/sse.ts";
import { secretId } from "../session/session.ts";
import { needEventStream, unacceptable } from "./accept.ts";
import { McpConnection } from "./connection.ts";
import { maxOwed } from "./queue-limits.ts";
import { EventStream } from "./sse.ts";
import { enter, type HttpParts, presentedBy, refuseAndThrow, type Visit, whoAsks } from "./visit.ts";

type Open = {
  readonly connection: McpConnection;
  readonly stream: EventStream;
  /** Principal id. */
  readonly owner: string;
  readonly scope: string | null;
};

/**
 * The HTTP transport of 2024-11-05: a GET opens a stream; its first event names the address for POSTs, and all answers
 * come on it.
 */
export class SsePair {
  readonly #options: HttpParts;
  readonly #open = new Map<string, Open>();

  constructor(options: HttpParts) {
    this.#options = options;
  }

  get(visit: Visit): Promise<Response> {
    return enter(this.#options.current(), visit, (who) => this.#opened(visit, who));
  }

  #opened(visit: Visit, who: Principal): Response {
    const { req, scope } = visit;
    needEventStream(req.headers);
    const { traffic, current, slots } = this.#options;
    const leave = slots.take(who.id);
    const id = secretId();
    const stream: EventStream = new EventStream(traffic, maxOwed(current()), who, () => {
      leave();
      this.#open.delete(id);
      unwatch();
      connection.close();
    });
    const connection = new McpConnection({
      ...this.#options,
      ...presentedBy(visit),
      scope,
      era: "legacy",
      send: (message, must) => stream.write(encodeEvent(message), must),
    });
    const unwatch = connection.closeOnLoss(who.revoked, () => stream.close());
    this.#open.set(id, { connection, stream, owner: who.id, scope });
    const path = scope === null ? "/messages" : `/${scope}/messages`;
    stream.write(`event: endpoint\ndata: ${path}?sessionId=${id}\n\n`, true);
    return stream.response;
  }

  async post(visit: Visit): Promise<Response> {
    const { req, scope } = visit;
    const gw = this.#options.current();
    const who = await whoAsks(gw, visit);
    const id = new URL(req.url).searchParams.get("sessionId") ?? "";
    const open = this.#open.get(id);
    // One message for an ended, an unknown and another caller's session.
    if (open?.owner !== who.id || open.scope !== scope) {
      return refuseAndThrow(gw, visit, who, sessionNotFound("open its event stream again"));
    }
    const text = unacceptable(req.headers) ?? (await this.#options.bodies.read(req, who.id));
    if (text instanceof Failure) return refuseAndThrow(gw, visit, who, text);
    void open.connection.receive(text, { ...presentedBy(visit), vouched: who });
    return new Response("Accepted", { status: 202 });
  }

  stopAsking(): void {
    for (const { connection } of this.#open.values()) connection.stopAsking();
  }

  closeAll(): void {
    for (const { stream } of this.#open.values()) stream.close();
  }
}
