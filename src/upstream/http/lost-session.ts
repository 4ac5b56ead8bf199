import { Failure } from "../../core/failure.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { editObject } from "../../mcp/edit.ts";
import type { Answer } from "../link/link.ts";

/** Whether a request that was refused for its session may be repeated, or not because it has perhaps run. */
export type SessionLoss = "repeatable" | "perhaps ran";

/** The server does not know the session any more, as far as its refusal says, which is `said`. */
export class SessionLost extends Error {
  readonly said: Answer | Failure;
  readonly loss: SessionLoss;

  constructor(said: Answer | Failure, loss: SessionLoss) {
    super("the session is lost");
    this.said = said;
    this.loss = loss;
  }

  /** Hands the refusal to the caller as the outcome of the request: returns the answer, or throws the failure. */
  hand(): Answer {
    const { said } = this;
    if (said instanceof Failure) throw said;
    if (said.kind !== "error" || said.code !== rpcCodes.sessionNotFound) return said;
    // The caller would take the code to be about its own session.
    const code = rpcCodes.internalError;
    return { ...said, code, error: editObject(said.error, { code: String(code) }) };
  }
}

/** How servers say that they do not know a session, in small letters and without punctuation. */
const sentences: ReadonlySet<string> = new Set([
  "session not found",
  "session not found or expired",
  "session id not found",
  "session with id not found",
  "could not find session",
  "no session found",
  "session expired",
  "session has expired",
  "session terminated",
  "session has been terminated",
  "session closed",
  "session does not exist",
  "session is invalid",
  "unknown session",
  "unknown session id",
  "expired session",
  "invalid session",
  "invalid session id",
  "invalid session id provided",
  "invalid or missing session id",
  "invalid or expired session id",
  "missing session id",
  "no valid session id",
  "no valid session id provided",
  "mcp session id header is required",
  "server not initialized",
  "received request before initialization was complete",
]);
const opening = /^(bad request|not found|invalid request) /;
const lostWords =
  /session.{0,40}(not found|expired|invalid|unknown|terminated|closed|does not exist)|(no valid|invalid|unknown|expired|missing) session/i;
/** Whether a status means it without any words: the one of the protocol, and one of the same meaning. */
export const isGone = (status: number): boolean => status === 404 || status === 410;
/** Whether a status refuses a request for what it is; others say that its server is busy, or cannot be reached. */
export const isRefusal = (status: number): boolean =>
  status >= 400 && status <= 500 && status !== 408 && status !== 429;
/** A 400 may be about anything, so its words must name the session, or the handshake that opens one. */
const ofSession = /session|initiali[sz]e/i;
/** The official Rust SDK refused so up to 0.16; any other 401 is about credentials. */
const unauthorized = "unauthorized session not found";
/** Most characters of a text that can say that a session is lost. */
export const longestWords = 2_000;
/** The error codes of refusals whose HTTP status does not mark them as refusals. */
const codes = new Set<number>([rpcCodes.invalidRequest, rpcCodes.sessionNotFound, rpcCodes.invalidParams]);

/**
 * Recognises how servers say that they do not know the session, in an answer or in a body that is no answer. Where it
 * could be a tool's own error, only whole known sentences count. A server that gave no session may want one later, and
 * says so with 400; its 404 is about something else.
 */
export function isSessionLost(status: number, said: Answer | string, session: string | null): boolean {
  if (session === null && status !== 400) return false;
  if (status === 401) return typeof said === "string" && wordsOf(said, session) === unauthorized;
  if (status === 400 && isOther(said)) return true;
  const refused = status >= 400;
  if (typeof said === "string") {
    if (isGone(status)) return true;
    if (status === 400) return speaksOfSession(said);
    return isSentence(said, session) || isSentence(foreignMessage(said), session);
  }
  if (said.kind !== "error") return false;
  const { code, message, idText } = said;
  if (refused && isSentence(message, session)) return true;
  // An error without an id says that the server read nothing of the request, one under its id that it did: a tool may
  // speak of sessions of its own.
  if (isGone(status))
    return idText === null || (session !== null && message.includes(session) && lostWords.test(message));
  if (refused) return idText === null && (status === 400 ? speaksOfSession(message) : lostWords.test(message));
  const known = codes.has(code) || (code === rpcCodes.serverError && opening.test(wordsOf(message, session)));
  return known && isSentence(message, session);
}

/** Whether such a refusal says that the server did not look at the request, so that one that acts has not run. */
export function isUnseen(status: number, said: Answer | string, session: string | null): boolean {
  if (isGone(status) || status === 401) return true;
  if (status === 400) return session !== null || isOther(said) || asksForSession(said);
  // How servers say it with a status that says nothing.
  if (status >= 300 || typeof said === "string" || said.kind !== "error") return false;
  return said.code === rpcCodes.invalidRequest && wordsOf(said.message, session) === "session not found";
}

/** Whether the server was replaced by one that does not speak the revision of the session. */
const isOther = (said: Answer | string): boolean =>
  typeof said !== "string" && said.kind === "error" && said.code === rpcCodes.unsupportedVersion;

/**
 * Whether a server that gave no session says that it wants one now. One that answers under the id of the request has
 * read it, and words about a session that never was are those of a tool.
 */
function asksForSession(said: Answer | string): boolean {
  if (typeof said !== "string") return said.kind === "error" && said.idText === null && asksInWords(said.message);
  return asksInWords(said) || asksInWords(foreignMessage(said));
}

const wanted = /session.id|initiali[sz]/i;
const asksInWords = (words: string): boolean => wanted.test(words) && isSentence(words, null);

/** The message of an error whose id is that of no request, which is how the official Python SDK refuses. */
function foreignMessage(text: string): string {
  if (text.length > longestWords) return "";
  try {
    const { id, error }: { id?: unknown; error?: { message?: unknown } } = JSON.parse(text);
    return typeof id === "string" && typeof error?.message === "string" ? error.message : "";
  } catch {
    return "";
  }
}

const speaksOfSession = (text: string): boolean => text.length <= longestWords && ofSession.test(text);

const isSentence = (text: string, session: string | null): boolean =>
  sentences.has(wordsOf(text, session).replace(opening, ""));

function wordsOf(text: string, session: string | null): string {
  if (text.length > longestWords) return "";
  // A shorter session id could be a part of any word.
  const own = session === null || session.length < 8 ? text : text.replaceAll(session, " ");
  return own
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, " ")
    .trim();
}
