import type { Call, Route } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { answerTime } from "../core/inbound.ts";
import type { Errand } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { outcomeOf, questionOf, readResponses } from "../mcp/input-round.ts";
import { isObject, paramText } from "../mcp/message.ts";
import type { Gateway } from "./gateway.ts";

/** What a `requestState` that the gateway gave out stands for. */
type Kept =
  /** The state of a modern server, null where it gave none; `of` is the call that it was given in. */
  | { readonly kind: "state"; readonly state: string | null; readonly of: string | null }
  /** The call is to be made again as it was: a legacy server has asked for URLs to be visited first. */
  | { readonly kind: "again"; readonly of: string }
  /** A call that waits in this process. */
  | { readonly kind: "parked"; readonly id: string };

/** The request that a state was given for; every word of it has to be the same in the retry. */
type Bound = { readonly server: string; readonly method: string; readonly name: string; readonly args: string };

const purpose = "input";
/** The requests that may be answered by asking for input (2026-07-28, MRTR). */
const mayAsk: ReadonlySet<string> = new Set(["tools/call", "prompts/get", "resources/read"]);

export const mayBeAsked = (method: string): boolean => mayAsk.has(method);

/** Seals what the caller brings back with its answers; nobody else can, nor with another request, nor later (D12). */
export function sealState(gw: Gateway, call: Call, who: Principal, route: Route, kept: Kept): string {
  return gw.sealer.seal(purpose, who.id, JSON.stringify({ ...boundOf(call, route), ...kept }), answerTime);
}

/** A request that answers what was asked before. */
export type Retry = Kept & { readonly responses: ReadonlyMap<string, string> };

/**
 * What a request retries; null when it is none. Throws `bad-state` for a state that was not given to this caller for
 * this very request, or has expired.
 */
export function retryOf(gw: Gateway, call: Call, who: Principal, route: Route): Retry | null {
  const { era, method, params } = call.inbound;
  const { requestState, inputResponses } = params;
  if (era === "legacy" || !mayAsk.has(method)) return null;
  if (requestState === undefined && inputResponses === undefined) return null;
  if (inputResponses !== undefined && !isObject(inputResponses)) {
    throw new Failure("invalid-params", '"params.inputResponses" is not an object.');
  }
  const responses = readResponses(call.inbound);
  // A server that gave no state recognises its questions by the answers.
  if (requestState === undefined) return { kind: "state", state: null, of: null, responses };
  const kept = typeof requestState === "string" ? open(gw, who, requestState, boundOf(call, route)) : null;
  if (!kept) throw badState();
  return { ...kept, responses };
}

/** The same words for whatever is wrong with it. */
export const badState = (): Failure =>
  new Failure(
    "bad-state",
    "This requestState was not given to you for this request, was used already or has expired; make the call anew.",
  );

/** The errand of a retry: with the server's own state, and the answers as the caller wrote them. */
export function withAnswers(errand: Errand, call: Call, retry: Retry | null): Errand {
  if (retry?.kind !== "state") return errand;
  const requestState = retry.state === null ? null : JSON.stringify(retry.state);
  const inputResponses = paramText(call.inbound, "inputResponses");
  return { ...errand, edits: { ...errand.edits, inputResponses, requestState } };
}

/** Records the answers that a retry brings, before they are passed on. */
export async function recordRetry(gw: Gateway, call: Call, { responses, ...kept }: Retry): Promise<void> {
  const of = kept.kind === "parked" ? null : kept.of;
  const steps = [...responses.values()].map((answer) => {
    const request = { method: questionOf(answer), params: "{}" };
    return gw.audit.input(call, {
      request,
      outcome: outcomeOf({ kind: "result", text: answer }),
      answer,
      rule: null,
      of,
    });
  });
  await Promise.all(steps);
}

function boundOf(call: Call, { server, canonical }: Route): Bound {
  const { method, params } = call.inbound;
  const args = new Bun.CryptoHasher("sha256").update(call.argumentsText).digest("base64url");
  return { server, method, name: JSON.stringify([canonical, params.name ?? params.uri]), args };
}

function open(gw: Gateway, who: Principal, sealed: string, bound: Bound): Kept | null {
  const text = gw.sealer.open(purpose, who.id, sealed);
  if (text === null) return null;
  const { server, method, name, args, ...kept } = JSON.parse(text) as Bound & Kept; // sealed here, by the function above
  const same = server === bound.server && method === bound.method && name === bound.name && args === bound.args;
  return same ? kept : null;
}
