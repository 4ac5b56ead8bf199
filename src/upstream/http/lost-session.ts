import { Failure } from "../../core/failure.ts";
import { isObject, objectIn } from "../../core/json.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { editObject } from "../../mcp/edit.ts";
import type { Answer } from "../link/link.ts";

/** Whether a request that was refused for its session may be repeated, or not because it has perhaps run if it acts. */
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
/** A server that gave no session and wants one asks for its id, or for the handshake. */
const wanted = /session.id|initiali[sz]/i;
/** The official Rust SDK refused so up to 0.16; any other 401 is about credentials. */
const unauthorized = "unauthorized session not found";
/** Most characters of a text that can say that a session is lost. */
export const longestWords = 2_000;
/** The error codes of refusals whose HTTP status does not mark them as refusals. */
const codes = new Set<number>([rpcCodes.invalidRequest, rpcCodes.sessionNotFound, rpcCodes.invalidParams]);

/**
 * Recognises how servers say that they do not know the session, in an answer or in a body that is no answer; null where
 * they do not. `repeatable`: the server did not look at the request, so that it has not run. Where it could be a tool's
 * own error, only whole known sentences count: a tool may speak of sessions of its own.
 */
export function lossOf(status: number, said: Answer | string, session: string | null): SessionLoss | null {
  // A server that gave no session may want one later, and says so with 400; its 404 is about something else.
  if (session === null && status !== 400) return null;
  const isText = typeof said === "string";
  if (!isText && said.kind === "result") return null;
  const code = isText ? null : said.code;
  const text = isText ? said : said.message;
  // An error without an id says that the server read nothing of the request, one under its id that it did.
  const isUnread = isText || said.idText === null;
  const message = (isText && foreignMessage(said)) || text;
  const isWhole = isSentence(message, session);
  if (status === 401) return isText && wordsOf(said, session) === unauthorized ? "repeatable" : null;
  if (isGone(status)) return isUnread || isWhole || tellsOf(message, session) ? "repeatable" : null;
  if (status === 400) {
    // The server was replaced by one that does not speak the revision of the session.
    if (code === rpcCodes.unsupportedVersion) return "repeatable";
    if (!isWhole && !(isUnread && speaksOfSession(text))) return null;
    // Words about a session that never was are those of a tool, unless they ask for one.
    return session !== null || (isUnread && isWhole && wanted.test(message)) ? "repeatable" : "perhaps ran";
  }
  if (status > 400) return isWhole || (!isText && isUnread && lostWords.test(text)) ? "perhaps ran" : null;
  if (!isWhole) return null;
  if (code === null || codes.has(code)) {
    // How servers say it with a status that says nothing.
    const isKnown = code === rpcCodes.invalidRequest && wordsOf(text, session) === "session not found";
    return isKnown && status < 300 ? "repeatable" : "perhaps ran";
  }
  return code === rpcCodes.serverError && opening.test(wordsOf(text, session)) ? "perhaps ran" : null;
}

/** Whether a text says that this very session is lost. */
const tellsOf = (text: string, session: string | null): boolean =>
  session !== null && text.includes(session) && lostWords.test(text);

/** The message of an error whose id is that of no request, which is how the official Python SDK refuses. */
function foreignMessage(text: string): string {
  if (text.length > longestWords) return "";
  const { id, error } = objectIn(text);
  return typeof id === "string" && isObject(error) && typeof error.message === "string" ? error.message : "";
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
