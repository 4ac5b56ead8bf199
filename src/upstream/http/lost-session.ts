import { Failure } from "../../core/failure.ts";
import { isObject, objectIn } from "../../core/json.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { editObject } from "../../mcp/edit.ts";
import type { Answer } from "../link/link.ts";

/** Whether a request refused because of its session did not run, or perhaps ran and must not be repeated if it acts. */
export type SessionLoss = "repeatable" | "perhaps ran";

/** The server no longer knows the session, according to its refusal `said`. */
export class SessionLost extends Error {
  readonly said: Answer | Failure;
  readonly loss: SessionLoss;

  constructor(said: Answer | Failure, loss: SessionLoss) {
    super("the session is lost");
    this.said = said;
    this.loss = loss;
  }

  /** Returns or throws the refusal as the outcome of the request for the caller. */
  hand(): Answer {
    const { said } = this;
    if (said instanceof Failure) throw said;
    if (said.kind !== "error" || said.code !== rpcCodes.sessionNotFound) return said;
    // The caller would relate the code to its own session.
    const code = rpcCodes.internalError;
    return { ...said, code, error: editObject(said.error, { code: String(code) }) };
  }
}

/** Phrases by which servers report an unknown session, in lower case and without punctuation. */
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
/** Reports whether a status alone means a lost session: the protocol's own, and one of the same meaning. */
export const isGone = (status: number): boolean => status === 404 || status === 410;
/** Reports whether a status refuses the request itself; others mean that the server is busy or unreachable. */
export const isRefusal = (status: number): boolean =>
  status >= 400 && status <= 500 && status !== 408 && status !== 429;
/** A 400 may have any reason, so its words must name the session, or the handshake that opens one. */
const ofSession = /session|initiali[sz]e/i;
/** A server that gave no session but requires one asks for its id or for the handshake. */
const wanted = /session.id|initiali[sz]/i;
/** The refusal of the official Rust SDK up to 0.16; any other 401 is about credentials. */
const unauthorized = "unauthorized session not found";
/** Maximum length of a text that can report a lost session. */
export const maxWordsLength = 2_000;
/** Error codes of refusals whose HTTP status does not mark them as refusals. */
const codes = new Set<number>([rpcCodes.invalidRequest, rpcCodes.sessionNotFound, rpcCodes.invalidParams]);

/**
 * Recognizes the ways in which servers report an unknown session, in an answer or another body; null otherwise.
 * `repeatable`: the server did not look at the request. If the words could be a tool's own error, only complete known
 * phrases count, since a tool may have sessions of its own.
 */
export function lossOf(status: number, said: Answer | string, session: string | null): SessionLoss | null {
  // A server that gave no session may require one later and reports that with 400; its 404 is about something else.
  if (session === null && status !== 400) return null;
  const isText = typeof said === "string";
  if (!isText && said.kind === "result") return null;
  const code = isText ? null : said.code;
  const text = isText ? said : said.message;
  // An error without an id means that the server did not read the request; an error with its id means that it did.
  const isUnread = isText || said.idText === null;
  const message = (isText && foreignMessage(said)) || text;
  const isWhole = isSentence(message, session);
  if (status === 401) return isText && wordsOf(said, session) === unauthorized ? "repeatable" : null;
  if (isGone(status)) return isUnread || isWhole || reportsLostSession(message, session) ? "repeatable" : null;
  if (status === 400) {
    // The server was replaced by one that does not speak the revision of the session.
    if (code === rpcCodes.unsupportedVersion) return "repeatable";
    if (!isWhole && !(isUnread && speaksOfSession(text))) return null;
    // If there is no session, words about one come from a tool, unless they ask for one.
    return session !== null || (isUnread && isWhole && wanted.test(message)) ? "repeatable" : "perhaps ran";
  }
  if (status > 400) return isWhole || (!isText && isUnread && lostWords.test(text)) ? "perhaps ran" : null;
  if (!isWhole) return null;
  if (code === null || codes.has(code)) {
    // How servers report it with a status that says nothing.
    const isKnown = code === rpcCodes.invalidRequest && wordsOf(text, session) === "session not found";
    return isKnown && status < 300 ? "repeatable" : "perhaps ran";
  }
  return code === rpcCodes.serverError && opening.test(wordsOf(text, session)) ? "perhaps ran" : null;
}

/** Reports whether a text says that this specific session is lost. */
const reportsLostSession = (text: string, session: string | null): boolean =>
  session !== null && text.includes(session) && lostWords.test(text);

/** Returns the message of an error whose id belongs to no request: the form of refusals by the official Python SDK. */
function foreignMessage(text: string): string {
  if (text.length > maxWordsLength) return "";
  const { id, error } = objectIn(text);
  return typeof id === "string" && isObject(error) && typeof error.message === "string" ? error.message : "";
}

const speaksOfSession = (text: string): boolean => text.length <= maxWordsLength && ofSession.test(text);

const isSentence = (text: string, session: string | null): boolean =>
  sentences.has(wordsOf(text, session).replace(opening, ""));

function wordsOf(text: string, session: string | null): string {
  if (text.length > maxWordsLength) return "";
  // A shorter session id could be part of any word.
  const own = session === null || session.length < 8 ? text : text.replaceAll(session, " ");
  return own
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, " ")
    .trim();
}
