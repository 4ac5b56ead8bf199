import { orNull } from "../../core/attempt.ts";
import { Withdrawn } from "../../core/cancel.ts";
import { causeOf, type Failure } from "../../core/failure.ts";
import { isObject } from "../../core/json.ts";
import { isExtensionNotification } from "../../core/methods.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { rawValue } from "../../mcp/json-text.ts";
import { idOf, isBatch, splitBatch } from "../../mcp/message.ts";
import { subscriptionIdKey } from "../../mcp/meta.ts";
import { errorMessage, resultMessage } from "../../mcp/reply.ts";
import { ownId, readUpstream, type UpstreamMessage } from "../../mcp/upstream-message.ts";
import { faults } from "../faults.ts";
import type { AmbiguousQuestions } from "./ambiguous-questions.ts";
import type { Exchange } from "./exchange.ts";
import type { FloodGuard } from "./flood.ts";
import type { Answer, LinkHost, UpstreamLimits } from "./link.ts";
import type { OutsideCalls } from "./outside-calls.ts";
import { askClient, isInput, type Question, type QuestionContext, type SendReply } from "./question-context.ts";

/**
 * Where the messages of one stream of a server go; a flood of those that are no answers ends the request or the link.
 */
export type Inbox = FloodGuard & {
  /** Takes an answer, possibly to a request that was never sent; the id of an error may be missing (null). */
  answer(idText: string | null, answer: Answer): void;
  /** Takes the id of an answer that cannot be used, and why; the id may be wrong. */
  broken(idText: string, why: Failure): void;
  /** The exchange of this id, which may also come as a progress token or a subscription id. */
  find(id: string): Exchange | undefined;
  /**
   * Whether the gateway ever sent a request of this id: a message about an ended request is late, no sign of malice.
   */
  issued(id: string): boolean;
  /** The exchanges that a message without an id can be about. */
  open(): Iterable<Exchange>;
  /** What a question can be about besides a call; left out where it can only be about a call. */
  readonly outside?: OutsideCalls | null;
  /** Where questions wait until it is known which call they are about; left out where none can wait for that. */
  readonly ambiguous?: AmbiguousQuestions;
  /** Sends our answer to a request of the server, or the progress with it. */
  readonly reply: SendReply;
};

/**
 * Takes one message of a server, whatever it is; never throws: what one for one caller sets off must not end the stream
 * of all.
 */
export function receive(text: string, host: LinkHost, inbox: Inbox): void {
  try {
    deliver(readUpstream(text, host.limits()), text, host, inbox);
  } catch (error) {
    const { log, server } = host;
    log.error("the gateway failed on a message of a server", { server, cause: causeOf(error) }, server);
  }
}

/**
 * Takes a message that is parsed already; `text` is its source. An array stands for the messages in it: servers up to
 * 2025-03-26 may send one, and a later server that sends one means the same.
 */
export function deliver(message: UpstreamMessage, text: string, host: LinkHost, inbox: Inbox): void {
  const members = message.kind === "invalid" && isBatch(text) ? membersOf(text, host.ownLimits()) : null;
  if (members === null) return deliverOne(message, text, host, inbox);
  for (const one of members) deliverOne(readUpstream(one, host.limits()), one, host, inbox);
}

/** The members of a batch; null where it is none that can be read. */
const membersOf = (text: string, limits: UpstreamLimits): string[] | null =>
  orNull(() => splitBatch(text, limits, limits.batch));

function deliverOne(message: UpstreamMessage, text: string, host: LinkHost, inbox: Inbox): void {
  if (message.kind === "result" || message.kind === "error") return inbox.answer(message.idText, message);
  if (message.kind === "notification") return notification(message, host, inbox);
  if (message.kind === "request") return request(message, inbox);
  const { reason, limit, ofAnswer } = message;
  const idText = idOf(text);
  if (idText === null) return inbox.stray(reason);
  const asks = isRequest(text);
  const id = ownId(JSON.parse(idText)) ?? idText;
  if (limit !== null && !asks && host.limits !== host.ownLimits && inbox.find(id)?.isOwn)
    return receive(text, { ...host, limits: host.ownLimits }, inbox);
  inbox.stray(reason);
  // Its id is the server's own, which waits for an answer.
  if (asks) {
    return void inbox.reply(errorMessage(idText, rpcCodes.invalidRequest, `The request cannot be read: ${reason}`));
  }
  inbox.broken(
    id,
    limit === null ? faults.protocol(host.server, ofAnswer) : faults.tooMuch(host.server, `${reason} (${limit})`),
  );
}

/** Whether a text with an id is a request rather than an answer. */
function isRequest(text: string): boolean {
  const has = (key: string): boolean => (rawValue(text, 0, key) ?? "null") !== "null";
  return has("method") && !has("result") && !has("error");
}

/** The calls that run. One whose answer was of no use may be kept a little longer, but nothing is about it any more. */
const callsOf = (inbox: Inbox): Exchange[] => [...inbox.open()].filter(({ isCall, closed }) => isCall && !closed);

type Notification = Extract<UpstreamMessage, { kind: "notification" }>;

/** Most characters that are passed on of one: what names no call may be for many clients, each of whom gets a copy. */
const mostPassed = { updated: 64 * 1024, any: 1024 ** 2 };

/**
 * Those of any length: a task holds the result of its call, and what a server grants of a listening request, which
 * names all that is subscribed to, goes to no client.
 */
const ofAnyLength: ReadonlySet<string> = new Set(["notifications/tasks", "notifications/subscriptions/acknowledged"]);

/** What of the params of a notification is passed on; null: nothing of so long a one. */
function passedOf({ method, params, paramsText }: Notification): string | null {
  if (method === "notifications/resources/updated" && paramsText.length > mostPassed.updated)
    return JSON.stringify({ uri: params.uri });
  return paramsText.length <= mostPassed.any || ofAnyLength.has(method) ? paramsText : null;
}

function notification(message: Notification, host: LinkHost, inbox: Inbox): void {
  const { method, params } = message;
  const paramsText = passedOf(message);
  if (paramsText === null) return inbox.stray("a notification that is too long");
  if (method === "notifications/progress") {
    const id = keyOf(params.progressToken);
    const exchange = inbox.find(id);
    if (exchange?.progress(paramsText)) return inbox.delivered();
    if (!exchange && !inbox.issued(id)) return inbox.stray("progress that nobody asked for");
    inbox.unrelated();
    return host.dropped("progress that nobody waits for");
  }
  if (isAboutCalls(method) && passToCalls(method, paramsText, inbox)) return inbox.delivered();
  if (method === "notifications/cancelled") return withdraw(paramsText, params, inbox);
  const listener = listenerOf(params, inbox);
  if (listener?.notified(method, paramsText)) return inbox.delivered();
  inbox.unrelated();
  if (host.notified(method, paramsText)) return;
  // A server may log unasked, so this does not count as a stray message.
  if (method === "notifications/message") host.dropped("a log message that nobody reads");
  else inbox.stray("a notification about nothing");
}

const isAboutCalls = (method: string): boolean =>
  method === "notifications/message" ||
  method === "notifications/elicitation/complete" ||
  isExtensionNotification(method);

/**
 * Passes on what names no call and so is about one of those that run: once to each client that has any, in the oldest
 * call that takes it. Not where several run and they can be of several callers. False when it is left for others.
 */
function passToCalls(method: string, params: string, inbox: Inbox): boolean {
  const calls = callsOf(inbox);
  const isLog = method === "notifications/message";
  if (calls.length > 1 && calls.some(({ client }) => client === null)) return false;
  const told = new Set<string | null>();
  // A call whose question waits is less likely meant, and nobody may be there to hear it.
  for (const call of calls.toSorted((a, b) => Number(a.waits) - Number(b.waits))) {
    if (told.has(call.client)) call.hear();
    else if (isLog ? call.message(params) : call.other(method, params)) told.add(call.client);
  }
  return told.size > 0 || (isLog && calls.length === 1);
}

/** The request that listens for this notification (2026-07-28). */
function listenerOf({ _meta: meta }: Notification["params"], inbox: Inbox): Exchange | undefined {
  return isObject(meta) ? inbox.find(keyOf(meta[subscriptionIdKey])) : undefined;
}

/**
 * The id of an exchange as a server repeats it; empty, which is none, for what can be no id: not everything has a text.
 */
const keyOf = (id: unknown): string => (typeof id === "string" || typeof id === "number" ? String(id) : "");

/** The server does not want an answer any more; `text` is its params as they came, for an id may be no exact number. */
function withdraw(text: string, { requestId: id, reason }: Notification["params"], inbox: Inbox): void {
  const idText = rawValue(text, 0, "requestId") ?? "";
  const why = new Withdrawn(reason);
  for (const exchange of inbox.open()) if (exchange.withdraw(idText, why)) return;
  if (inbox.ambiguous?.withdraw(idText) || inbox.outside?.withdraw(idText, why)) return;
  // With the same notification a server ends a listening request (2026-07-28, stdio), also after its result.
  const key = keyOf(id);
  if (inbox.find(key)?.notified("notifications/cancelled", "{}")) return;
  if (inbox.issued(key)) inbox.unrelated();
  else inbox.stray("the end of nothing that was asked");
}

/** No question names its call. So it goes to a client only if it cannot be about another client's call. */
function request(message: Extract<UpstreamMessage, { kind: "request" }>, inbox: Inbox): void {
  const { idText, method, paramsText: params } = message;
  if (method === "ping") {
    inbox.unrelated();
    return void inbox.reply(resultMessage(idText, "{}"));
  }
  const question: Question = { idText, method, params };
  const calls = callsOf(inbox);
  if (inbox.outside?.isAskable(method) || calls.length < 2) return askOrRefuse(question, calls, inbox);
  const resolve = (call: Exchange | null): void => askOrRefuse(question, call && [call], inbox);
  const waits = isInput(method) && inbox.ambiguous?.add(question, calls, resolve);
  if (!waits) return askOrRefuse(question, null, inbox);
  // The server may withdraw it before anybody is asked, and ask again.
  inbox.unrelated();
}

/** Asks the client of these calls, or refuses the question; null: it can be about the calls of several clients. */
function askOrRefuse(question: Question, calls: readonly Exchange[] | null, inbox: Inbox): void {
  for (const call of calls ?? []) call.hear();
  const among: QuestionContext[] = [...(calls ?? [])];
  if (inbox.outside?.isAskable(question.method)) among.push(inbox.outside);
  if (askClient(among, question, inbox.reply)) return;
  inbox.stray("a request of the server");
  void inbox.reply(errorMessage(question.idText, rpcCodes.methodNotFound, whyNot(question.method, calls)));
}

function whyNot(method: string, calls: readonly Exchange[] | null): string {
  if (!isInput(method)) return "The gateway passes no request of that method on to clients";
  if (calls?.length === 0) return "No call is open that this could be about";
  if (calls) return "This client declared no capability for that method";
  return (
    "Several calls were open on this server, and this could be about any of them: finish or end the others first. " +
    "An abandoned call is open until its questions expire"
  );
}
