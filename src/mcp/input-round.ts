import {
  type ClientAnswer,
  type Inbound,
  type InputMethod,
  inputMethods,
  type InputRequest,
  type Revision,
} from "../core/inbound.ts";
import { isObject, objectIn } from "../core/json.ts";
import { cut, plain } from "../core/text.ts";
import { editObject } from "./edit.ts";
import { locate, locatePresent, members, openObject, stringAt } from "./json-text.ts";
import { forNextHop } from "./meta.ts";

// Input rounds (2026-07-28, multi round-trip requests), and the server-to-client requests of older revisions that they
// replaced.

/** One question of a round, with the key that its answer must use. */
export type Asked = { readonly key: string; readonly request: InputRequest };

/** Maximum number of questions in one round. */
export const maxQuestions = 32;
const tooMany = `it asks more than ${maxQuestions} questions at once`;
const maxKeyLength = 256;
type Values = Readonly<Record<string, unknown>>;

/** Parses an `input_required` result (raw JSON). Returns what is wrong, as a sentence, if it is invalid. */
export function readRound(
  result: string,
): { readonly asked: readonly Asked[]; readonly state: string | null } | string {
  const span = locatePresent(result, 0, "requestState");
  if (!span && !locatePresent(result, 0, "inputRequests"))
    return "it asks for input but has neither inputRequests nor requestState";
  const state = span && stringAt(result, span);
  if (span && state === null) return "its requestState is not a string";
  const asked = readInputRequests(result);
  return typeof asked === "string" ? asked : { asked, state };
}

/** Parses the `inputRequests` of a result or task; empty if it has none. Returns what is wrong if they are invalid. */
export function readInputRequests(result: string): readonly Asked[] | string {
  const requests = locatePresent(result, 0, "inputRequests");
  if (!requests) return [];
  if (result.charCodeAt(requests[0]) !== openObject) return "its inputRequests are not an object";
  const asked: Asked[] = [];
  for (const { key, value } of members(result, requests[0])) {
    const request = readRequest(result.slice(...value));
    if (typeof request === "string") return request;
    if (key.length > maxKeyLength) return "a key of its inputRequests is too long";
    asked.push({ key, request });
  }
  return asked.length > maxQuestions ? tooMany : asked;
}

function readRequest(text: string): InputRequest | string {
  const value: unknown = JSON.parse(text);
  if (!isObject(value)) return "one of its inputRequests is not an object";
  const method = inputMethods.find((each) => each === value.method);
  if (!method) return "one of its inputRequests has a method that no client supports";
  const params = locatePresent(text, 0, "params");
  if (params && !isObject(value.params)) return "the params of one of its inputRequests are not an object";
  return { method, params: params ? text.slice(...params) : "{}" };
}

/** Returns an `input_required` result as raw JSON. */
export function roundText(asked: readonly Asked[], state: string): string {
  const requests = asked.map(
    ({ key, request: { method, params } }) => `${JSON.stringify(key)}:{"method":"${method}","params":${params}}`,
  );
  return `{"resultType":"input_required","inputRequests":{${requests.join(",")}},"requestState":${JSON.stringify(state)}}`;
}

/** Returns the answers of a retry by key, as written except what belongs to one hop; empty if there are none. */
export function readResponses({ text, spans, params }: Inbound): ReadonlyMap<string, string> {
  const at = spans.params && isObject(params.inputResponses) ? locate(text, spans.params[0], "inputResponses") : null;
  const all = at ? members(text, at[0]) : [];
  return new Map(all.map(({ key, value }) => [key, forNextHop(text.slice(...value), "progressToken")]));
}

/** Returns answers by key as `inputResponses`; both are raw JSON. */
export function responsesText(answers: Iterable<readonly [key: string, answer: string]>): string {
  return `{${[...answers].map(([key, answer]) => `${JSON.stringify(key)}:${answer}`).join(",")}}`;
}

/** Returns how a client reacted to a question. An answer that does not fit it is an error, even if sent as a result. */
export function outcomeOf(
  method: InputMethod,
  { kind, text }: ClientAnswer,
): "accept" | "decline" | "cancel" | "error" {
  if (kind === "error" || !answers(method, text)) return "error";
  const action = objectIn(text).action;
  return action === "decline" || action === "cancel" ? action : "accept";
}

/** Whether an answer has the shape that its question requires. */
export function answers(method: InputMethod, answer: string): boolean {
  const value = objectIn(answer);
  if (method === "roots/list") return Array.isArray(value.roots);
  if (method === "sampling/createMessage") return value.role !== undefined && value.content !== undefined;
  return value.action === "accept" || value.action === "decline" || value.action === "cancel";
}

/** Returns the first capability that a question needs and the client did not declare, as a dotted name, or null. */
export function undeclared(
  capabilities: Values,
  { method, params }: InputRequest,
  revision: Revision | null,
): string | null {
  const asked = objectIn(params);
  if (method === "roots/list") return isObject(capabilities.roots) ? null : "roots";
  if (method === "sampling/createMessage") return undeclaredSampling(capabilities.sampling, asked, revision);
  const { elicitation } = capabilities;
  if (!isObject(elicitation)) return "elicitation";
  const mode = asked.mode ?? "form";
  if (mode !== "form" && mode !== "url") return `elicitation with mode ${plain(cut(JSON.stringify(mode), 40))}`;
  // A client that names no mode supports only forms, as all clients did before modes were introduced.
  const has =
    mode === "form" ? isObject(elicitation.form) || (elicitation.url ?? null) === null : isObject(elicitation.url);
  return has ? null : `elicitation.${mode}`;
}

function undeclaredSampling(sampling: unknown, asked: Values, revision: Revision | null): string | null {
  if (!isObject(sampling)) return "sampling";
  const { tools, toolChoice, includeContext } = asked;
  if ((tools ?? toolChoice ?? null) !== null && !isObject(sampling.tools)) return "sampling.tools";
  const context = (includeContext ?? "none") !== "none";
  // Before 2025-11-25, a client with sampling was assumed to include context.
  const named = revision !== null && revision >= "2025-11-25";
  return context && named && !isObject(sampling.context) ? "sampling.context" : null;
}

/** Translates a modern question for a legacy client. `id` is for a URL question without an `elicitationId`. */
export function forLegacyClient(request: InputRequest, revision: Revision | null, id: string): InputRequest {
  const { method, params } = request;
  const clean = forNextHop(params, "progressToken");
  if (method !== "elicitation/create") return { ...request, params: clean };
  const { mode, elicitationId } = objectIn(params);
  const edits = {
    // Modes were introduced in 2025-11-25.
    ...(mode === "form" && (revision ?? "") < "2025-11-25" && { mode: null }),
    ...(mode === "url" && (elicitationId ?? null) === null && { elicitationId: JSON.stringify(id) }),
  };
  return { ...request, params: editObject(clean, edits) };
}

/**
 * Returns, as questions, the URLs that a server wants visited before the next call (its error `urlElicitation`). Empty
 * if the server uses that code with another meaning. Returns what is wrong, as a sentence, if they are invalid.
 */
export function urlQuestions(error: string): readonly Asked[] | string {
  const { data } = objectIn(error);
  const list: unknown = isObject(data) ? (data.elicitations ?? []) : [];
  if (!Array.isArray(list) || !list.every((each) => isObject(each)))
    return "its elicitations are not a list of objects";
  if (list.length > maxQuestions) return tooMany;
  return list.map((each, index) => ({
    key: `url-${index + 1}`,
    request: {
      method: "elicitation/create",
      params: forNextHop(JSON.stringify({ ...each, mode: "url" }), "progressToken"),
    },
  }));
}
