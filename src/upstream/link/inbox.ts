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

/** Where the messages of one stream of a server go. A flood of non-answers ends the request or the link. */
export type Inbox = FloodGuard & {
  /** Takes an answer, possibly to a request that was never sent; an error may have no id (null). */
  answer(idText: string | null, answer: Answer): void;
  /** Takes the id of an answer that cannot be used, and the reason; the id may be wrong. */
  broken(idText: string, why: Failure): void;
  /** Returns the exchange with this id, which may also arrive as a progress token or a subscription id. */
  find(id: string): Exchange | undefined;
  /** Whether the gateway ever sent a request with this id: a message about an ended request is late, not malicious. */
  issued(id: string): boolean;
  /** The exchanges that a message without an id can be about. */
  open(): Iterable<Exchange>;
  /** What a question can be about other than a call; left out if it can only be about a call. */
  readonly outside?: OutsideCalls | null;
  /** Where questions wait until their call is known; left out if none can wait. */
  readonly ambiguous?: AmbiguousQuestions;
  /** Sends the answer to a server's request, or its progress. */
  readonly reply: SendReply;
};

/** Takes any message of a server; never throws, since a message for one caller must not end the stream of all. */
export function receive(text: string, host: LinkHost, inbox: Inbox): void {
  try {
    deliver(readUpstream(text, host.limits()), text, host, inbox);
  } catch (error) {
    const { log, server } = host;
    log.error("the gateway failed to process a message from a server", { server, cause: causeOf(error) }, server);
  }
}

/**
 * Takes a parsed message; `text` is its source. An array stands for its messages: servers up to 2025-03-26 may send
 * one, and in later servers it means the same.
 */
export function deliver(message: UpstreamMessage, text: string, host: LinkHost, inbox: Inbox): void {
  const members = message.kind === "invalid" && isBatch(text) ? membersOf(text, host.ownLimits()) : null;
  if (members === null) return deliverOne(message, text, host, inbox);
  for (const one of members) deliverOne(readUpstream(one, host.limits()), one, host, inbox);
}

/** Returns the members of a batch; null if it is not a readable batch. */
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
  // The server waits for an answer under this id, which is its own.
  if (asks) {
    return void inbox.reply(errorMessage(idText, rpcCodes.invalidRequest, `The request cannot be read: ${reason}`));
  }
  inbox.broken(
    id,
    limit === null ? faults.protocol(host.server, ofAnswer) : faults.tooMuch(host.server, `${reason} (${limit})`),
  );
}

/** Reports whether a text with an id is a request rather than an answer. */
function isRequest(text: string): boolean {
  const has = (key: string): boolean => (rawValue(text, 0, key) ?? "null") !== "null";
  return has("method") && !has("result") && !has("error");
}

/** Returns the running calls. One whose answer was unusable may be kept for a while, but no message is about it. */
const callsOf = (inbox: Inbox): Exchange[] => [...inbox.open()].filter(({ isCall, closed }) => isCall && !closed);

type Notification = Extract<UpstreamMessage, { kind: "notification" }>;

/** Maximum length of forwarded params: a notification that names no call may be copied to many clients. */
const maxForwardedLength = { updated: 64 * 1024, any: 1024 ** 2 };

/**
 * Notifications of any length: a task holds the result of its call, and the acknowledgment of a listening request,
 * which names all its subscriptions, goes to no client.
 */
const unlimitedNotifications: ReadonlySet<string> = new Set([
  "notifications/tasks",
  "notifications/subscriptions/acknowledged",
]);

/** Returns the params of a notification to forward; null if it is too long for anything. */
function forwardedParams({ method, params, paramsText }: Notification): string | null {
  if (method === "notifications/resources/updated" && paramsText.length > maxForwardedLength.updated)
    return JSON.stringify({ uri: params.uri });
  return paramsText.length <= maxForwardedLength.any || unlimitedNotifications.has(method) ? paramsText : null;
}

function notification(message: Notification, host: LinkHost, inbox: Inbox): void {
  const { method, params } = message;
  const paramsText = forwardedParams(message);
  if (paramsText === null) return inbox.stray("a notification that is too long");
  if (method === "notifications/progress") {
    const id = keyOf(params.progressToken);
    const exchange = inbox.find(id);
    if (exchange?.progress(paramsText)) return inbox.delivered();
    if (!exchange && !inbox.issued(id)) return inbox.stray("progress that nobody asked for");
    inbox.unrelated();
    return host.dropped("progress that nobody waits for");
  }
  if (isAboutCalls(method) && forwardToCalls(method, paramsText, inbox)) return inbox.delivered();
  if (method === "notifications/cancelled") return withdraw(paramsText, params, inbox);
  const listener = listenerOf(params, inbox);
  if (listener?.notified(method, paramsText)) return inbox.delivered();
  inbox.unrelated();
  if (host.notified(method, paramsText)) return;
  // A server may log without being asked, so this is not a stray message.
  if (method === "notifications/message") host.dropped("a log message that nobody reads");
  else inbox.stray("a notification that belongs to nothing");
}

const isAboutCalls = (method: string): boolean =>
  method === "notifications/message" ||
  method === "notifications/elicitation/complete" ||
  isExtensionNotification(method);

/**
 * Forwards a notification that names no call and so is about a running one: once to each client with running calls, in
 * the oldest call that takes it. If several calls run that may have several callers, forwards nothing. Returns false if
 * the notification is left for others.
 */
function forwardToCalls(method: string, params: string, inbox: Inbox): boolean {
  const calls = callsOf(inbox);
  const isLog = method === "notifications/message";
  if (calls.length > 1 && calls.some(({ client }) => client === null)) return false;
  const told = new Set<string | null>();
  // A call whose question waits is less likely to be meant, and its client may not be listening.
  for (const call of calls.toSorted((a, b) => Number(a.waits) - Number(b.waits))) {
    if (told.has(call.client)) call.hear();
    else if (isLog ? call.message(params) : call.other(method, params)) told.add(call.client);
  }
  return told.size > 0 || (isLog && calls.length === 1);
}

/** Returns the request that listens for this notification (2026-07-28). */
function listenerOf({ _meta: meta }: Notification["params"], inbox: Inbox): Exchange | undefined {
  return isObject(meta) ? inbox.find(keyOf(meta[subscriptionIdKey])) : undefined;
}

/** Returns the id of an exchange as a server repeats it; empty, which is no id, for any other value. */
const keyOf = (id: unknown): string => (typeof id === "string" || typeof id === "number" ? String(id) : "");

/** Withdraws a question. Takes its id from `text`, the raw params, since a number may not be exact. */
function withdraw(text: string, { requestId: id, reason }: Notification["params"], inbox: Inbox): void {
  const idText = rawValue(text, 0, "requestId") ?? "";
  const why = new Withdrawn(reason);
  for (const exchange of inbox.open()) if (exchange.withdraw(idText, why)) return;
  if (inbox.ambiguous?.withdraw(idText) || inbox.outside?.withdraw(idText, why)) return;
  // A server ends a listening request with the same notification (2026-07-28, stdio), even after its result.
  const key = keyOf(id);
  if (inbox.find(key)?.notified("notifications/cancelled", "{}")) return;
  if (inbox.issued(key)) inbox.unrelated();
  else inbox.stray("the cancellation of an unknown request");
}

/** Handles a request of the server. Since none names its call, it goes to a client only if no other can be meant. */
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
  // The server may withdraw the question before anybody is asked, and ask again.
  inbox.unrelated();
}

/** Asks the client of these calls, or refuses the question. Null: it can be about calls of several clients. */
function askOrRefuse(question: Question, calls: readonly Exchange[] | null, inbox: Inbox): void {
  for (const call of calls ?? []) call.hear();
  const among: QuestionContext[] = [...(calls ?? [])];
  if (inbox.outside?.isAskable(question.method)) among.push(inbox.outside);
  if (askClient(among, question, inbox.reply)) return;
  inbox.stray("a request of the server");
  void inbox.reply(errorMessage(question.idText, rpcCodes.methodNotFound, whyNot(question.method, calls)));
}

function whyNot(method: string, calls: readonly Exchange[] | null): string {
  if (!isInput(method)) return "The gateway does not pass requests of this method on to clients";
  if (calls?.length === 0) return "No call is open that this could belong to";
  if (calls) return "The client declared no capability for this method";
  return (
    "Several calls are open on this server, and this could belong to any of them: finish or end the others first. " +
    "An abandoned call stays open until its questions expire"
  );
}
