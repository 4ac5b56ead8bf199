import type { Call, IdentifiedCall, Verdict } from "../../core/call.ts";
import { Failure } from "../../core/failure.ts";
import { type InputMethod, inputMethods } from "../../core/inbound.ts";
import { isObject } from "../../core/json.ts";
import type { Policy } from "../../core/ports.ts";
import { cut, plain } from "../../core/text.ts";
import { type Asked, answers, readResponses } from "../../mcp/input-round.ts";
import type { Gateway } from "../gateway.ts";

// The answers that callers send in `inputResponses`. Answers without a question are ignored and not passed on, as the
// protocol requires (2026-07-28, MRTR).

/** An answer as written (raw JSON), with the key and method of its question. */
export type Given = { readonly key: string; readonly method: InputMethod; readonly text: string };
/** The questions of a round: the key and the method of each. */
export type Asks = readonly (readonly [key: string, method: InputMethod])[];

/** Returns the parts of a round's questions that are needed to check the answers. */
export const asksOf = (asked: readonly Asked[]): Asks => asked.map(({ key, request }) => [key, request.method]);

/**
 * Returns the answers to the questions in `asks`. Throws `invalid-params` if an answer does not fit its question,
 * `denied` if the rules forbid it.
 */
export function answersTo(gw: Gateway, call: IdentifiedCall, server: string, asks: Asks): Given[] {
  const methods = new Map(asks);
  return [...readResponses(call.inbound)].flatMap(([key, text]) => {
    const method = methods.get(key);
    if (method === undefined) return [];
    const given = { key, method, text };
    checkAnswer(gw.policy, call, server, given);
    return [given];
  });
}

/** Throws `invalid-params` if an answer does not fit its question, `denied` if the rules forbid it. */
export function checkAnswer(policy: Policy, call: IdentifiedCall, server: string, { key, method, text }: Given): void {
  if (!answers(method, text)) throw new Failure("invalid-params", `${answerName(key)} does not answer ${method}.`);
  admitAnswer(policy, call, server, method);
}

/**
 * Returns answers to questions that the gateway did not relay. Such an answer may fit several methods, and the policy
 * has to allow all of them. Throws `input-undeclared` if the client could not have been asked, and `denied`.
 */
export function unasked(gw: Gateway, call: IdentifiedCall, server: string): Given[] {
  return [...readResponses(call.inbound)].flatMap(([key, text]) => {
    const fitting = inputMethods.filter((each) => answers(each, text));
    for (const method of fitting) {
      requireDeclared(call, key, method);
      admitAnswer(gw.policy, call, server, method);
    }
    return fitting.slice(0, 1).map((method) => ({ key, method, text }));
  });
}

function requireDeclared({ capabilities }: Call, key: string, method: InputMethod): void {
  const [name = ""] = method.split("/");
  if (isObject(capabilities.value[name])) return;
  throw new Failure(
    "input-undeclared",
    `${answerName(key)} answers ${method}, but the client did not declare ${name}.`,
  );
}

/** Throws `denied` if the rules forbid the question by the time its answer arrives. */
function admitAnswer(policy: Policy, call: IdentifiedCall, server: string, method: InputMethod): void {
  const { allowed, rule, reason } = policy.admitsInput(call.who, call.source, server, method);
  if (allowed) return;
  call.verdict = { rule, reason };
  throw inputDenied(`The server "${server}" may not receive an answer to ${method}`, call.verdict);
}

/** Returns the failure of a question or answer that the rules forbid; `what` starts the message. */
export function inputDenied(what: string, { rule, reason }: Verdict): Failure {
  const why = rule === null ? reason : `by rule ${rule}: ${reason}`;
  return new Failure("denied", `${what}; denied ${why}.`, rule === null ? {} : { rule });
}

/** Returns the name of an answer for error messages. */
export const answerName = (key: string): string => `inputResponses.${plain(cut(key, 100))}`;
