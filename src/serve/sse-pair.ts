import { Failure } from "../core/failure.ts";
import type { Principal } from "../core/principal.ts";
import { sessionNotFound } from "../gateway/handle.ts";
import { encodeEvent } from "../mcp/sse.ts";
import { secretId } from "../session/session.ts";
import { McpConnection } from "./connection.ts";
import type { EndpointOptions } from "./endpoint.ts";
import { ConnectionSlots } from "./connection-slots.ts";
import { maxOwed } from "./queue-limits.ts";
import { EventStream } from "./sse.ts";
import { enter, needEventStream, presentedBy, refused, unacceptable, type Visit, whoAsks } from "./wire.ts";

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
  readonly #options: EndpointOptions;
  readonly #open = new Map<string, Open>();
  readonly #slots = new ConnectionSlots();

  constructor(options: EndpointOptions) {
    this.#options = options;
  }

  get(req: Request, ip: string | null, scope: string | null): Promise<Response> {
    return enter(this.#options.current(), { req, ip, scope }, (who) => this.#opened({ req, ip, scope }, who));
  }

  #opened({ req, ip, scope }: Visit, who: Principal): Response {
    needEventStream(req.headers);
    const leave = this.#slots.take(who.id);
    const id = secretId();
    const { traffic, current } = this.#options;
    const stream: EventStream = new EventStream(traffic, maxOwed(current()), () => {
      leave();
      this.#open.delete(id);
      stay();
      connection.close();
    });
    const connection = new McpConnection({
      ...this.#options,
      ...presentedBy(req, ip),
      scope,
      era: "legacy",
      send: (message, must) => stream.write(encodeEvent(message), must),
    });
    const stay = connection.endWith(who.revoked, () => stream.close());
    this.#open.set(id, { connection, stream, owner: who.id, scope });
    const place = scope === null ? "/messages" : `/${scope}/messages`;
    stream.write(`event: endpoint\ndata: ${place}?sessionId=${id}\n\n`, true);
    return stream.response;
  }

  async post(req: Request, ip: string | null, scope: string | null): Promise<Response> {
    const gw = this.#options.current();
    const who = await whoAsks(gw, req, ip);
    const id = new URL(req.url).searchParams.get("sessionId") ?? "";
    const open = this.#open.get(id);
    const presented = { ...presentedBy(req, ip), vouched: who };
    // One message for an ended, an unknown and another caller's session.
    if (open?.owner !== who.id || open.scope !== scope) return refused(gw, req, presented, sessionNotFound());
    const text = unacceptable(req.headers) ?? (await this.#options.bodies.read(req));
    if (text instanceof Failure) return refused(gw, req, presented, text);
    void open.connection.receive(text, presented);
    return new Response("Accepted", { status: 202 });
  }

  closeAll(): void {
    for (const { stream } of this.#open.values()) stream.close();
  }
}
