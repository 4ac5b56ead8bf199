import { Failure } from "../core/failure.ts";
import { mustDeliver } from "../core/lists.ts";
import type { Reached } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { sessionNotFound } from "../gateway/handle.ts";
import { notificationText } from "../mcp/outbound.ts";
import { legacyRevision } from "../mcp/standard-headers.ts";
import { allLists } from "../session/notifier.ts";
import type { Session } from "../session/session.ts";
import type { Sessions } from "../session/sessions.ts";
import { requireEventStream } from "./accept.ts";
import { answerCaller } from "./admission.ts";
import { type EventStream, openStream } from "./event-stream.ts";
import { type HttpContext, type HttpRequest, presentedBy } from "./http-request.ts";
import { acceptsPriming } from "./post-stream.ts";
import type { Methods } from "./routes.ts";

type Own = { readonly who: Principal; readonly session: Session };

/** Returns the handlers that streamable HTTP has for legacy sessions: GET opens a stream, DELETE ends the session. */
export function sessionMethods(context: HttpContext): Methods {
  return {
    GET: (request) => withOwnSession(context, request, (own) => stream(context, request, own)),
    DELETE: (request) =>
      withOwnSession(context, request, ({ session }) => {
        context.sessions.end(session, "deleted");
        return new Response(null, { status: 204 });
      }),
  };
}

/**
 * Opens a stream of a legacy session, for messages outside of calls, or with `Last-Event-ID` for the rest of the stream
 * that the event belongs to. Only sessions have such streams (2025-03-26 and later, transports).
 */
function stream(context: HttpContext, request: HttpRequest, own: Own): Response {
  const { headers } = request.raw;
  const { session } = own;
  requireEventStream(headers);
  const last = headers.get("last-event-id");
  const found = last === null ? null : session.streams.find(last);
  if (last !== null && !found) {
    throw new Failure("invalid-request", "The stream of this Last-Event-ID does not exist or is no longer kept.");
  }
  if (!found || found.log === session.streams.outside) return listen(context, request, own, found?.after);
  const { log, after } = found;
  // A 204 tells the client not to reconnect (HTML, server-sent events). Official clients take a stream without a result
  // for one that was cut off: they would reconnect forever, and open an empty one as another stream outside of calls.
  if (log.endedBy(after)) return new Response(null, { status: 204 });
  const stream: EventStream = openStream(context, own.who, () => log.leave(stream));
  context.traffic.lost += log.readBy(stream, after);
  // Some clients resume again only with an event id from the stream that was cut off last.
  if (acceptsPriming(session)) log.prime();
  return stream.response;
}

function listen(context: HttpContext, request: HttpRequest, { who, session }: Own, after?: number): Response {
  const { clock, notifier } = context.current();
  const log = session.streams.outside;
  // A client that reconnects has lost its old stream, even if the network has not reported it yet.
  log.reader?.close();
  const stream: EventStream = openStream(context, who, () => {
    log.leave(stream, clock.mono());
    context.sessions.touch(session);
  });
  session.leave?.();
  const send = (method: string, params: string | null): void => {
    if (log.isOver(clock.mono())) session.leave?.();
    else log.write(notificationText(method, params), mustDeliver(method));
  };
  const { source } = presentedBy(request);
  const { scope, capabilities } = session;
  const ask: Reached["ask"] = (question, signal) =>
    session.questions.ask(question, signal, (message) => log.write(message, true));
  const here = (): boolean => log.reader !== null;
  try {
    session.leave = notifier.join({ who, source, scope, capabilities, lists: allLists, send, session, ask, here });
  } catch (error) {
    stream.close();
    throw error;
  }
  context.traffic.lost += log.readBy(stream, after);
  if (acceptsPriming(session)) log.prime();
  return stream.response;
}

/** Answers with `answer` for the session that the request names; throws if its protocol version is not served. */
function withOwnSession(
  { current, sessions }: HttpContext,
  request: HttpRequest,
  answer: (own: Own) => Response,
): Promise<Response> {
  const { headers } = request.raw;
  const find = (who: Principal): Session | null => sessionOf(sessions, headers, who, request.scope);
  const own = (who: Principal, session: Session | null): Response => {
    if (!headers.has("mcp-session-id")) return new Response(null, { status: 405, headers: { allow: "POST" } });
    if (!session) throw sessionNotFound();
    legacyRevision(headers, session.revision);
    return answer({ who, session });
  };
  return answerCaller(current(), request, own, find);
}

/** Returns the session that a request names if it belongs to the caller. Other principals' sessions stay untouched. */
export function sessionOf(sessions: Sessions, headers: Headers, who: Principal, scope: string | null): Session | null {
  const id = headers.get("mcp-session-id");
  return id === null ? null : sessions.find(id, who.id, scope);
}
