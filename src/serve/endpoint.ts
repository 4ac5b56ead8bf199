import { sessionName } from "../audit/session-name.ts";
import { Call } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Inbound } from "../core/inbound.ts";
import type { Presented } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { handle, refuse, sessionNotFound } from "../gateway/handle.ts";
import { readInbound } from "../mcp/classify.ts";
import { negotiate } from "../mcp/handshake.ts";
import { locate } from "../mcp/json-text.ts";
import { idOf } from "../mcp/message.ts";
import type { Session, Sessions } from "../session/sessions.ts";
import type { BodyReader } from "./body.ts";
import { credentialsOf, sourceOf } from "./credentials.ts";
import { answer, answerText } from "./reply.ts";
import type { Running } from "./running.ts";
import { EventStream } from "./sse.ts";

export type EndpointOptions = {
  current: () => Gateway;
  sessions: Sessions;
  running: Running;
  bodies: BodyReader;
};

/** Bytes that are read of a body whose sender is refused anyway. */
const strangerBody = 64 * 1024;

/** One request as it came off the wire, before the path. */
type Received = { readonly inbound: Inbound; readonly fault: Failure | null; readonly session: Session | null };

/** Streamable HTTP on one URL, both eras: a POST is one exchange, GET a legacy session's stream, DELETE its end. */
export class Endpoint {
  readonly #options: EndpointOptions;

  constructor(options: EndpointOptions) {
    this.#options = options;
  }

  async post(req: Request, ip: string | null): Promise<Response> {
    const { running, current } = this.#options;
    const gw = current();
    const started = gw.clock.mono();
    const source = sourceOf(req.headers, ip);
    const credentials = credentialsOf(req.headers);
    const presented = { source, credentials, vouched: null };
    const vouched = identify(gw, presented);
    if (vouched instanceof Failure) return this.#turnAway(gw, req, presented, vouched);
    const text = unacceptable(req.headers) ?? (await this.#options.bodies.read(req));
    const { inbound, fault, session } = this.#receive(gw, req, text);
    const controller = running.add();
    const stream = inbound.progressToken === null || fault ? null : new LazyStream();
    const call = new Call({
      id: gw.nextId(),
      at: gw.clock.now(),
      started,
      inbound,
      fault,
      session,
      source,
      credentials,
      vouched,
      controller,
      emit: stream ? (message) => stream.send(message) : null,
    });
    // Only in the modern era is a disconnect a cancellation (PROTOCOL: cancellation).
    if (inbound.era === "modern") req.signal.addEventListener("abort", () => controller.abort(), { once: true });
    if (session) register(session, call);
    if (!stream) {
      await handle(gw, call);
      return this.#ended(gw, call, session);
    }
    const ended = handle(gw, call).then(() => this.#ended(gw, call, session));
    return Promise.race([stream.opened, ended.then((response) => stream.end(response, answerText(call, gw.identity)))]);
  }

  /** Of a stranger's body no more is read than it takes to answer under its id. */
  async #turnAway(gw: Gateway, req: Request, presented: Presented, failure: Failure): Promise<Response> {
    const text = await this.#options.bodies.read(req, strangerBody);
    const call = probe(gw, req, presented, text instanceof Failure ? "" : text);
    await refuse(gw, call, failure);
    return answer(call, gw.identity);
  }

  #ended(gw: Gateway, call: Call, session: Session | null): Response | Promise<Response> {
    const { kind, method } = call.inbound;
    if (session) unregister(session, call);
    this.#options.running.delete(call.controller);
    if (call.failure) return answer(call, gw.identity);
    if (kind !== "request") {
      if (session && method === "notifications/cancelled") session.calls.get(cancelledId(call.inbound) ?? "")?.abort();
      return new Response(null, { status: 202 });
    }
    return method === "initialize" ? this.#opened(gw, call) : answer(call, gw.identity);
  }

  /** A client that has initialized gets a session of its own. */
  async #opened(gw: Gateway, call: Call): Promise<Response> {
    const { who, inbound } = call;
    if (!who) return answer(call, gw.identity);
    try {
      const session = this.#options.sessions.open(who, negotiate(inbound.params.protocolVersion));
      await gw.audit.note({
        type: "session.open",
        actor: who.id,
        facts: { session: sessionName(session), client: inbound.client?.name ?? null, revision: session.revision },
      });
      return answer(call, gw.identity, { "mcp-session-id": session.id });
    } catch (error) {
      call.failure = asFailure(error);
      return answer(call, gw.identity);
    }
  }

  /** The GET stream of a legacy session: what the gateway has to say outside any call. */
  async get(req: Request, ip: string | null): Promise<Response> {
    const session = await this.#ownSession(req, ip);
    if (!/text\/event-stream|\*\/\*/.test(req.headers.get("accept") ?? "")) {
      throw new Failure("invalid-request", "GET opens an event stream: send Accept: text/event-stream.");
    }
    // A client that reconnects has lost its old stream, even where the network has not noticed yet.
    session.sink?.close();
    const stream = new EventStream(() => {
      if (session.sink === stream) session.sink = null;
    });
    session.sink = stream;
    return stream.response;
  }

  async delete(req: Request, ip: string | null): Promise<Response> {
    const { id } = await this.#ownSession(req, ip);
    this.#options.sessions.end(id, "deleted");
    return new Response(null, { status: 204 });
  }

  async #ownSession(req: Request, ip: string | null): Promise<Session> {
    const who = await whoAsks(this.#options.current(), req, ip);
    const id = req.headers.get("mcp-session-id");
    if (id === null)
      throw new Failure("invalid-request", "This needs the Mcp-Session-Id header that initialize answered with.");
    const session = this.#options.sessions.get(id);
    if (session?.owner !== who.id) throw sessionNotFound();
    return session;
  }

  #receive(gw: Gateway, req: Request, text: string | Failure): Received {
    const id = req.headers.get("mcp-session-id");
    const session = id === null ? null : this.#options.sessions.get(id);
    if (text instanceof Failure) return { inbound: unreadable("", req.headers), session, fault: text };
    try {
      const inbound = readInbound(text, gw.shape, {
        transport: "http",
        headers: req.headers,
        pinned: session ? "legacy" : null,
        revision: session?.revision ?? null,
      });
      // A modern request has no session; one that names a session that has ended must open another.
      const stale = id !== null && !session && inbound.era === "legacy" && inbound.method !== "initialize";
      return { inbound, session, fault: stale ? sessionNotFound() : null };
    } catch (error) {
      return { inbound: unreadable(text, req.headers), session, fault: asFailure(error) };
    }
  }
}

/** Lets a later `notifications/cancelled` of the session find the call. */
function register(session: Session, { inbound: { idText, kind }, controller }: Call): void {
  if (idText !== null && kind === "request") session.calls.set(idText, controller);
}

/** Unless a later call of the same id has taken the place. */
function unregister(session: Session, { inbound: { idText }, controller }: Call): void {
  if (idText !== null && session.calls.get(idText) === controller) session.calls.delete(idText);
}

/** A stream that opens with the first notification; without one the answer stays plain JSON. */
class LazyStream {
  #stream: EventStream | null = null;
  readonly #opening = Promise.withResolvers<Response>();

  get opened(): Promise<Response> {
    return this.#opening.promise;
  }

  send(message: string): void {
    if (!this.#stream) {
      this.#stream = new EventStream();
      this.#opening.resolve(this.#stream.response);
    }
    this.#stream.send(message);
  }

  end(response: Response, text: string | null): Response {
    if (!this.#stream) return response;
    if (text === null) this.#stream.close();
    else this.#stream.finish(text);
    return this.#stream.response;
  }
}

/** The id that a `notifications/cancelled` names, as it was written; null when it names none. */
export function cancelledId({ text, spans }: Inbound): string | null {
  const span = spans.params && locate(text, spans.params[0], "requestId");
  return span && text.slice(span[0], span[1]);
}

/** Why a message of these headers is not read; null when it is. */
function unacceptable(headers: Headers): Failure | null {
  const type = headers.get("content-type");
  if (type !== "application/json" && !/^application\/json\s*(;|$)/i.test(type ?? "")) {
    return new Failure("unsupported-media", "Send the message as Content-Type: application/json.");
  }
  const accept = headers.get("accept");
  if (accept === null || /application\/(json|\*)|\*\/\*|text\/event-stream/i.test(accept)) return null;
  return new Failure(
    "not-acceptable",
    "Answers are application/json or text/event-stream; the Accept header allows neither.",
  );
}

/** Stands for a message that could not be read, so that its refusal has an id, a method and a record. */
export function unreadable(text: string, headers: Headers | null): Inbound {
  return {
    kind: "request",
    era: headers?.get("mcp-protocol-version") === "2026-07-28" ? "modern" : "legacy",
    revision: null,
    text: "",
    idText: idOf(text),
    method: "",
    params: {},
    spans: { params: null, arguments: null },
    progressToken: null,
    paramHeaders: null,
    client: null,
  };
}

/** Who sends a request that carries no message; whoever is refused is on record, as on the path. */
export async function whoAsks(gw: Gateway, req: Request, ip: string | null): Promise<Principal> {
  const presented = { source: sourceOf(req.headers, ip), credentials: credentialsOf(req.headers), vouched: null };
  const who = identify(gw, presented);
  if (!(who instanceof Failure)) return who;
  await refuse(gw, probe(gw, req, presented, ""), who);
  throw who;
}

function identify(gw: Gateway, presented: Presented): Principal | Failure {
  try {
    return gw.authn.identify(presented);
  } catch (error) {
    return asFailure(error);
  }
}

/** Stands for a call of which no more is known than who sent it and under which id. */
function probe(gw: Gateway, req: Request, presented: Presented, text: string): Call {
  return new Call({
    ...presented,
    id: gw.nextId(),
    at: gw.clock.now(),
    started: gw.clock.mono(),
    inbound: unreadable(text, req.headers),
    fault: null,
    session: null,
    controller: new AbortController(),
    emit: null,
  });
}
