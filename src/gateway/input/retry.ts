import type { Call, IdentifiedCall, Reply, Route, RoutedCall } from "../../core/call.ts";
import { Failure } from "../../core/failure.ts";
import { answerTimeoutMs } from "../../core/inbound.ts";
import { isObject } from "../../core/json.ts";
import type { UpstreamRequest } from "../../core/upstream.ts";
import type { Principal } from "../../core/principal.ts";
import { type Asked, outcomeOf, readResponses, responsesText, roundText } from "../../mcp/input-round.ts";
import { specOf } from "../../mcp/methods.ts";
import type { Gateway } from "../gateway.ts";
import { answerName, answersTo, type Asks, type Given, unasked } from "./client-answers.ts";
import { answeredStep } from "./asking.ts";

/** The content of a sealed `requestState`; `asks` holds the questions of the call `of`. */
type Kept =
  /** A call that waits in this process, by its id there. */
  | { readonly kind: "parked"; readonly id: string }
  /** The state of a modern server; null if it gave none. */
  | { readonly kind: "state"; readonly state: string | null; readonly asks: Asks; readonly of: string }
  /** A call to be made again unchanged, because its server wants URLs visited first. */
  | { readonly kind: "again"; readonly asks: Asks; readonly of: string };

/** The request to which a state belongs; a retry has to match it exactly. */
type Bound = { readonly method: string; readonly name: string; readonly args: string };

const purpose = "input";

/** Seals the state that comes back with answers. Only the same caller and request open it, for `answerTimeoutMs`. */
export function sealState(gw: Gateway, call: RoutedCall, kept: Kept): string {
  return gw.sealer.seal(purpose, call.who.id, JSON.stringify({ ...boundOf(call), ...kept }), answerTimeoutMs);
}

/** Returns the result that asks a modern caller for input, with `kept` as its sealed state. */
export function roundReply(gw: Gateway, call: RoutedCall, asked: readonly Asked[], kept: Kept): Reply {
  const text = roundText(asked, sealState(gw, call, kept));
  return { kind: "result", era: "modern", text, isError: false, type: "input_required" };
}

/** A request that answers earlier questions. */
export type Retry =
  | { readonly kind: "parked"; readonly id: string; readonly responses: ReadonlyMap<string, string> }
  | NewRequest;

/**
 * A retry that becomes a new request to the server, with the answers to the questions of the call `of`; `of` is null if
 * the gateway does not know the call.
 */
export type NewRequest = {
  readonly kind: "state" | "again";
  readonly given: readonly Given[];
  readonly of: string | null;
  /** The server's own state, and the answers as written. */
  readonly edits: UpstreamRequest["edits"];
};

/**
 * Reads a retry with the answers that may be passed on; null if the request is not a retry. Throws `bad-state` if the
 * state expired or was not given to this caller for exactly this request, and what `answersTo` and `unasked` throw.
 */
export function retryOf(gw: Gateway, call: RoutedCall): Retry | null {
  const { server } = call.route;
  const { era, method, params } = call.inbound;
  const { requestState, inputResponses } = params;
  const isTask = method === "tasks/update";
  if (!isTask && (era === "legacy" || !specOf(method)?.inRounds)) return null;
  if (inputResponses !== undefined && !isObject(inputResponses)) {
    throw new Failure("invalid-params", '"params.inputResponses" is not an object.');
  }
  // Every question that the gateway relays has a state, except a task's questions, so these answers have no question.
  if (isTask || requestState === undefined) {
    if (!inputResponses) return null;
    if (isTask) requireObjects(inputResponses);
    const given = unasked(gw, call, server);
    return { kind: "state", of: null, given, edits: editsOf(call, given, null) };
  }
  const kept = typeof requestState === "string" ? open(gw, call.who, requestState, boundOf(call)) : null;
  if (!kept) throw badState();
  if (kept.kind === "parked") return { ...kept, responses: readResponses(call.inbound) };
  const given = answersTo(gw, call, server, kept.asks);
  const { kind, of } = kept;
  return { kind, of, given, edits: kept.kind === "again" ? {} : editsOf(call, given, kept.state) };
}

function requireObjects(answers: Record<string, unknown>): void {
  const [odd] = Object.entries(answers).find(([, answer]) => !isObject(answer)) ?? [];
  if (odd !== undefined) throw new Failure("invalid-params", `${answerName(odd)} is not an object.`);
}

function editsOf({ inbound }: Call, given: readonly Given[], state: string | null): UpstreamRequest["edits"] {
  const brings = inbound.params.inputResponses !== undefined;
  return {
    inputResponses: brings ? responsesText(given.map(({ key, text }) => [key, text])) : null,
    requestState: state === null ? null : JSON.stringify(state),
  };
}

/** Returns the same failure whatever is wrong with the state. */
const badState = (): Failure =>
  new Failure(
    "bad-state",
    "This requestState was not given to you for this request or has expired. The call that it belongs to may have run: check before you make it again.",
  );

/** Records the answers of a retry, before they are passed on. */
export async function recordRetry(gw: Gateway, call: Call, retry: NewRequest): Promise<void> {
  const steps = retry.given.map(({ method, text }) =>
    gw.audit.input(call, { ...answeredStep({ method, params: "{}" }, { kind: "result", text }), of: retry.of }),
  );
  await Promise.all(steps);
}

/** Throws `input-unavailable` if the caller did not agree to visit the URLs: the server would only ask again. */
export function requireVisited({ server }: Route, { kind, given }: NewRequest): void {
  if (kind !== "again" || given.every(({ method, text }) => outcomeOf(method, { kind: "result", text }) === "accept"))
    return;
  throw new Failure(
    "input-unavailable",
    `The server "${server}" wants a URL visited first, and the client did not agree to that.`,
    { ran: "no" },
  );
}

/**
 * Returns the id of the parked call that a request continues, if its caller was given the state for this method and
 * these arguments; null for every other request. The target of the request need not exist any more.
 */
export function parkedIdOf(gw: Gateway, call: IdentifiedCall): string | null {
  const { era, method, params } = call.inbound;
  if (era === "legacy" || typeof params.requestState !== "string") return null;
  const kept = open(gw, call.who, params.requestState, { method, args: argsOf(call) });
  return kept?.kind === "parked" ? kept.id : null;
}

/** Uses the canonical name, because a reload may change the wire name before the caller answers. */
const boundOf = (call: RoutedCall): Bound => ({
  method: call.inbound.method,
  name: call.route.canonical,
  args: argsOf(call),
});

const argsOf = (call: Call): string => Bun.SHA256.hash(call.argumentsText, "base64url");

function open(gw: Gateway, who: Principal, sealed: string, bound: Partial<Bound>): Kept | null {
  const text = gw.sealer.open(purpose, who.id, sealed);
  if (text === null) return null;
  const { method, name, args, ...kept } = JSON.parse(text) as Bound & Kept; // sealed here, by the function above
  const given: Bound = { method, name, args };
  const same = Object.entries(bound).every(([part, value]) => given[part as keyof Bound] === value);
  return same ? kept : null;
}
