import { Failure } from "../../core/failure.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import type { Answer } from "../link/link.ts";

/**
 * The server does not know the session any more. It has not run the request, or may run it again; `said` is its
 * refusal.
 */
export class SessionLost extends Error {
  readonly said: Answer | Failure;

  constructor(said: Answer | Failure) {
    super("the session is lost");
    this.said = said;
  }

  /** Hands the refusal to the caller as the outcome of the request: returns the answer, or throws the failure. */
  hand(): Answer {
    if (this.said instanceof Failure) throw this.said;
    return this.said;
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
  "server not initialized",
  "received request before initialization was complete",
]);
const opening = /^(bad request|not found|invalid request) /;
const lostWords =
  /session.{0,40}(not found|expired|invalid|unknown|terminated|closed|does not exist)|(no valid|invalid|unknown|expired|missing) session/i;
/** Statuses that mean it without any words: the one of the protocol, and one of the same meaning. */
const gone = new Set([404, 410]);
/** A 400 may be about anything, so its words must name the session, or the handshake that opens one. */
const ofSession = /session|initiali[sz]e/i;
const longestWords = 2_000;
/** The error codes of refusals whose HTTP status does not mark them as refusals. */
const codes = new Set<number>([rpcCodes.invalidRequest, rpcCodes.sessionNotFound, rpcCodes.invalidParams]);

/**
 * Recognises how servers say that they do not know the session, in an answer or in a body that is no answer. Where it
 * could be a tool's own error, only whole known sentences count. A request with side effects (`acts`) is repeated only
 * if the server clearly did not process it.
 */
export function isSessionLost(status: number, said: Answer | string, session: string, acts: boolean): boolean {
  const refused = status >= 400;
  if (acts && !gone.has(status) && status !== 400) return status < 300 && isUsual(said, session);
  if (typeof said === "string")
    return gone.has(status) || (status === 400 ? speaksOfSession(said) : refused && isSentence(said, session));
  if (said.kind !== "error") return false;
  const { code, message, idText } = said;
  if (refused && isSentence(message, session)) return true;
  // An error without an id says that the server read nothing of the request.
  if (refused) return idText === null && (status === 400 ? speaksOfSession(message) : lostWords.test(message));
  const known = codes.has(code) || (code === rpcCodes.serverError && opening.test(wordsOf(message, session)));
  return known && isSentence(message, session);
}

/** The usual refusal with a status of success. */
const isUsual = (said: Answer | string, session: string): boolean =>
  typeof said !== "string" &&
  said.kind === "error" &&
  said.code === rpcCodes.invalidRequest &&
  wordsOf(said.message, session) === "session not found";

const speaksOfSession = (text: string): boolean => text.length <= longestWords && ofSession.test(text);

const isSentence = (text: string, session: string): boolean =>
  sentences.has(wordsOf(text, session).replace(opening, ""));

function wordsOf(text: string, session: string): string {
  if (text.length > longestWords) return "";
  // A shorter session id could be a part of any word.
  const own = session.length < 8 ? text : text.replaceAll(session, " ");
  return own
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, " ")
    .trim();
}
