import { Failure } from "../core/failure.ts";
import type { Principal } from "../core/principal.ts";
import { sessionNotFound } from "../gateway/handle.ts";
import { encodeEvent } from "../mcp/sse.ts";
import { secretId } from "../session/session.ts";
import { requireEventStream, unacceptable } from "./accept.ts";
import { answerCaller, authenticate, refuseAndThrow } from "./admission.ts";
import { McpConnection } from "./connection.ts";
import { type EventStream, openStream } from "./event-stream.ts";
import { type HttpContext, type HttpRequest, presentedBy } from "./http-request.ts";

type Open = {
  readonly connection: McpConnection;
  readonly stream: EventStream;
  /** Principal id. */
  readonly owner: string;
  readonly scope: string | null;
};

/**
 * The HTTP+SSE transport of 2024-11-05: a GET opens a stream whose first event names the URL for POSTs; all responses
 * are sent on the stream.
 */
export class HttpSse {
  readonly #context: HttpContext;
  readonly #open = new Map<string, Open>();

  constructor(context: HttpContext) {
    this.#context = context;
  }

  get(request: HttpRequest): Promise<Response> {
    return answerCaller(this.#context.current(), request, (who) => this.#opened(request, who));
  }

  #opened(request: HttpRequest, who: Principal): Response {
    const { raw, scope } = request;
    requireEventStream(raw.headers);
    const id = secretId();
    const stream: EventStream = openStream(this.#context, who, () => {
      this.#open.delete(id);
      unwatch();
      connection.close();
    });
    const connection = new McpConnection({
      ...this.#context,
      ...presentedBy(request),
      scope,
      era: "legacy",
      send: (message, must) => stream.write(encodeEvent(message), must),
    });
    const unwatch = connection.closeOnRevocation(who.revoked, () => stream.close());
    this.#open.set(id, { connection, stream, owner: who.id, scope });
    const path = scope === null ? "/messages" : `/${scope}/messages`;
    stream.write(`event: endpoint\ndata: ${path}?sessionId=${id}\n\n`, true);
    return stream.response;
  }

  async post(request: HttpRequest): Promise<Response> {
    const { raw, scope } = request;
    const gw = this.#context.current();
    const who = await authenticate(gw, request);
    const id = new URL(raw.url).searchParams.get("sessionId") ?? "";
    const open = this.#open.get(id);
    // Ended, unknown and other callers' sessions get the same message.
    if (open?.owner !== who.id || open.scope !== scope) {
      return refuseAndThrow(gw, request, who, sessionNotFound("open its event stream again"));
    }
    const text = unacceptable(raw.headers) ?? (await this.#context.bodies.read(raw, who.id));
    if (text instanceof Failure) return refuseAndThrow(gw, request, who, text);
    void open.connection.receive(text, { ...presentedBy(request), vouched: who });
    return new Response("Accepted", { status: 202 });
  }

  stopAsking(): void {
    for (const { connection } of this.#open.values()) connection.stopAsking();
  }

  closeAll(): void {
    for (const { stream } of this.#open.values()) stream.close();
  }
}
