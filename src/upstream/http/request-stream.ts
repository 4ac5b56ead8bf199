import { Failure } from "../../core/failure.ts";
import { sleep } from "../../core/wait.ts";
import { faults } from "../faults.ts";
import { tooLarge } from "../link/exchange.ts";
import { type Inbox, receive } from "../link/inbox.ts";
import type { Answer } from "../link/link.ts";
import { createFloodGuard, floodReason } from "../link/flood.ts";
import { connectionLost, discard } from "./answer.ts";
import { isEventStream, isTooLarge, readEvents, silentMs, type StreamContext } from "./event-stream.ts";
import { createArrival } from "./arrival.ts";
import { SessionLost } from "./lost-session.ts";
import { Resumptions } from "./resumptions.ts";
import type { HttpExchange } from "./http-exchange.ts";
import type { Place } from "./wire.ts";

/** How long a stream may stay open after its answer, so that its connection can be reused, ms. */
const lingerMs = 1_000;

/** Reads the stream that answers a request until the answer. Throws `SessionLost`, and as `Link.request` does. */
export function readRequestStream(response: Response, exchange: HttpExchange, context: StreamContext): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const { host, wire } = context;
  const { request } = exchange;
  // The response that opens a session already belongs to it.
  const session = request.method === "initialize" ? wire.session : exchange.session;
  const place = { peer: request.peer, session };
  const inbox = createInbox(exchange, { ...context, place }, resolve, reject);
  const end = (): void => exchange.controller.abort();
  let answered = false;
  const pumped = follow(response, exchange, { context, place, inbox, done: () => answered }).then(
    reject,
    (error: Error) => {
      reject(isTooLarge(error) ? faults.tooLarge(host.server, host.limits().result) : error);
      end();
    },
  );
  return promise.finally(() => {
    answered = true;
    const timer = setTimeout(end, lingerMs);
    void pumped.finally(() => clearTimeout(timer));
  });
}

type Following = { readonly context: StreamContext; readonly place: Place; readonly inbox: Inbox; done(): boolean };

/** Reads a request's stream to its end and resumes it if it breaks early; resolves to the reason why no answer came. */
async function follow(response: Response, { request, controller }: HttpExchange, following: Following) {
  const { context, place, inbox, done } = following;
  const { host, wire, longest } = context;
  let messages = 0;
  const received = (text: string): void => {
    messages++;
    receive(text, host, inbox);
  };
  const resumptions = new Resumptions();
  const held = createArrival(host.server, longest, request.purpose);
  const reading = { longest, silence: request.timeout === null ? silentMs : null, received, held };
  let stream: Response | null = response;
  let lastId: string | null = null;
  let retry: number | null = null;
  let cause: unknown = null;
  for (;;) {
    if (stream) {
      const before = messages;
      const end = await readEvents(stream, reading);
      const moved = end.lastId !== null && end.lastId !== lastId;
      resumptions.brought(messages > before ? "message" : moved ? "position" : "nothing");
      lastId = end.lastId ?? lastId;
      retry = end.retry ?? retry;
      cause = end.broken;
    }
    const resumable = request.peer.era === "legacy" && lastId !== null && !controller.signal.aborted;
    const pause = done() || !resumable ? null : resumptions.next(retry);
    if (pause === null) break;
    await sleep(pause, controller.signal);
    if (done() || controller.signal.aborted) break;
    stream = await wire.get(place, lastId, controller.signal).catch((error: unknown) => {
      cause = error;
      return null;
    });
    if (stream === null || isEventStream(stream)) continue;
    discard(stream);
    if (stream.status < 500) break;
    stream = null;
  }
  if (cause === null) return faults.lost(host.server, "its stream ended without an answer");
  return cause instanceof Failure ? cause : connectionLost(host, cause);
}

function createInbox(
  exchange: HttpExchange,
  { host, issued, reply, place }: StreamContext & { readonly place: Place },
  resolve: (answer: Answer) => void,
  reject: (error: Error) => void,
): Inbox {
  const { controller } = exchange;
  const id = String(exchange.id);
  // A flood fails only the request in whose stream it came, not the server's other requests.
  const guard = createFloodGuard(host.dropped, () => {
    reject(faults.protocol(host.server, floodReason));
    controller.abort();
  });
  const settle = (answer: Answer): void => {
    const loss = exchange.lossIn(200, answer);
    if (loss !== null) return reject(new SessionLost(answer, loss));
    const fault = tooLarge(answer, host);
    if (fault) reject(fault);
    else resolve(exchange.heard ? { ...answer, begun: true } : answer);
  };
  return {
    ...guard,
    // An error without an id can only be about the one request that the stream answers.
    answer: (idText, answer) => {
      if (idText === null || idText === id) settle(answer);
      else guard.stray("an answer to an unknown request");
    },
    broken: (idText, why) => {
      if (idText === id) reject(why);
    },
    find: (token) => (token === id ? exchange : undefined),
    issued,
    open: () => [exchange],
    reply: (text) => reply(text, place),
  };
}
