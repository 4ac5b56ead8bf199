import type { Call, Reply } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import type { ClientAnswer, InputMethod, InputRequest } from "../../src/core/inbound.ts";
import type { UpstreamRequest } from "../../src/core/upstream.ts";
import { type Asking, type Harness, ok, send } from "./support.ts";

/** A question, the capabilities that it needs, and an answer. */
export type Kind = {
  readonly request: InputRequest;
  readonly declares: Record<string, unknown>;
  readonly answer: string;
};

/** A form to fill in. */
export const form: InputRequest = {
  method: "elicitation/create",
  params: '{"mode":"form","message":"?","requestedSchema":{"type":"object","properties":{}},"n":1.10}',
};
/** One question of each kind. */
export const kinds: Record<string, Kind> = {
  form: {
    request: form,
    declares: { elicitation: { form: {} } },
    answer: '{"action":"accept","content":{"n":1.10}}',
  },
  url: {
    request: {
      method: "elicitation/create",
      params: '{"mode":"url","message":"?","url":"https://x/","elicitationId":"e1"}',
    },
    declares: { elicitation: { url: {} } },
    answer: '{"action":"decline"}',
  },
  sampling: {
    request: { method: "sampling/createMessage", params: '{"messages":[],"maxTokens":5}' },
    declares: { sampling: {} },
    answer: '{"role":"assistant","model":"m","content":{"type":"text","text":"t"}}',
  },
  roots: {
    request: { method: "roots/list", params: "{}" },
    declares: { roots: { listChanged: true } },
    answer: '{"roots":[{"uri":"file:///r"}]}',
  },
};
/** The outcomes of the answers above. */
export const outcomes: Record<string, string> = { form: "accept", url: "decline", sampling: "accept", roots: "accept" };

const echo = ({ text }: ClientAnswer): Reply =>
  ok(`{"content":[{"type":"text","text":${JSON.stringify(text)}}]}`, "legacy");
/** A server that never answers. */
export const never = new AbortController().signal;

/** A legacy server that asks during the call and returns the answer. */
export const asksMeanwhile =
  (...requests: InputRequest[]) =>
  async (call: Call): Promise<Reply> => {
    let last: ClientAnswer = { kind: "result", text: "{}" };
    for (const each of requests) last = (await call.input?.(each, never)) ?? last;
    return echo(last);
  };

/** A server that ends a call only when it is cancelled. */
export const untilCancelled = ({ controller: { signal } }: Call): Promise<never> =>
  new Promise((_resolve, reject) => {
    const end = (): void => reject(new Failure("cancelled", "The call was cancelled."));
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });

/** Asks once; then works until it is cancelled. */
export const asksAndWorks = async (running: Call): Promise<Reply> => {
  void running.input?.(form, never);
  return untilCancelled(running);
};

/** A modern server that asks by its result, and returns the answers and state of the retry. */
export const asksByResult =
  (asked: InputRequest, state: string | null = "its own state") =>
  (_call: Call, { edits }: UpstreamRequest): Reply => {
    if ((edits.inputResponses ?? edits.requestState ?? null) !== null) {
      return ok(
        `{"resultType":"complete","content":[],"got":${edits.inputResponses ?? null},"state":${edits.requestState ?? null}}`,
        "modern",
      );
    }
    const held = state === null ? "" : `,"requestState":${JSON.stringify(state)}`;
    return ok(
      `{"resultType":"input_required","inputRequests":{"k":{"method":"${asked.method}","params":${asked.params}}}${held},"ttlMs":9}`,
      "modern",
    );
  };

/** The parameters of a call. */
export const call = { name: "crm__get", arguments: { a: 1 } };
/** A result that asks for input. */
export type Round = { requestState: string; inputRequests: Record<string, { method: InputMethod; params: unknown }> };

/** Sends the retry of a round, with the same answer to each question. */
export async function retry({ gw }: Harness, asked: unknown, answer: string, asking: Asking, more: object = call) {
  const { requestState, inputRequests } = asked as Round;
  const keys = Object.keys(inputRequests ?? {}).map((key) => `${JSON.stringify(key)}:${answer}`);
  const state = requestState === undefined ? "" : `,"requestState":${JSON.stringify(requestState)}`;
  const params = `${JSON.stringify(more).slice(0, -1)},"inputResponses":{${keys.join(",")}}${state}}`;
  return send(gw, "tools/call", params, { id: "2", ...asking });
}
