import type { Call, Verdict } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { type InputMethod, inputMethods } from "../core/inbound.ts";
import type { Principal } from "../core/principal.ts";
import { cut, plain } from "../core/text.ts";
import { type Asked, answers, readResponses, responsesText } from "../mcp/input-round.ts";
import { isObject } from "../mcp/message.ts";
import type { Gateway } from "./gateway.ts";

// What callers answer in `inputResponses`. Answers that nothing asks for are passed over and not passed on, as the
// protocol wants it (2026-07-28, MRTR).

/** An answer as it was written (raw JSON), and the question that it is to. */
export type Given = { readonly key: string; readonly method: InputMethod; readonly text: string };
/** What was asked: the key of each question and its method. */
export type Asks = readonly (readonly [key: string, method: InputMethod])[];

/** What the questions of a round leave to be known when their answers come. */
export const asksOf = (asked: readonly Asked[]): Asks => asked.map(({ key, request }) => [key, request.method]);

/** The answers to what was asked. Throws `invalid-params` for one that answers something else, `denied`. */
export function answersTo(gw: Gateway, call: Call, who: Principal, server: string, asks: Asks): Given[] {
  const methods = new Map(asks);
  return [...readResponses(call.inbound)].flatMap(([key, text]) => {
    const method = methods.get(key);
    if (method === undefined) return [];
    if (!answers(method, text)) throw new Failure("invalid-params", `${answerName(key)} does not answer ${method}.`);
    admitAnswer(gw, call, who, server, method);
    return [{ key, method, text }];
  });
}

/**
 * Answers to questions that the gateway did not relay: policy is asked for every method whose answer they could be.
 * Throws `input-undeclared` where the client could not have been asked, `denied`.
 */
export function unasked(gw: Gateway, call: Call, who: Principal, server: string): Given[] {
  return [...readResponses(call.inbound)].flatMap(([key, text]) => {
    const fitting = inputMethods.filter((each) => answers(each, text));
    for (const method of fitting) {
      needDeclared(call, key, method);
      admitAnswer(gw, call, who, server, method);
    }
    return fitting.slice(0, 1).map((method) => ({ key, method, text }));
  });
}

function needDeclared({ capabilities }: Call, key: string, method: InputMethod): void {
  const [name = ""] = method.split("/");
  if (isObject(capabilities.value[name])) return;
  throw new Failure(
    "input-undeclared",
    `${answerName(key)} answers ${method}, but the client did not declare ${name}.`,
  );
}

/** Answers as `inputResponses`, raw JSON. */
export const givenText = (given: readonly Given[]): string => responsesText(given.map(({ key, text }) => [key, text]));

/** A question that the rules forbid when its answer comes may not be answered either. Throws `denied`. */
export function admitAnswer(gw: Gateway, call: Call, who: Principal, server: string, method: InputMethod): void {
  const { allowed, rule, reason } = gw.policy.admitsInput(who, call.source, server, method);
  if (allowed) return;
  call.verdict = { rule, reason };
  throw inputDenied(`The server "${server}" may not be answered ${method}`, call.verdict);
}

/** The refusal of a question, or of its answer, by the rules; `what` begins its sentence. */
export function inputDenied(what: string, { rule, reason }: Verdict): Failure {
  const why = rule === null ? reason : `by rule ${rule}: ${reason}`;
  return new Failure("denied", `${what}; denied ${why}.`, rule === null ? {} : { rule });
}

/** How a refusal names an answer. */
export const answerName = (key: string): string => `inputResponses.${plain(cut(key, 100))}`;
