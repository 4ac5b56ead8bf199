import type { RecordedCall, Reply, Route } from "../core/call.ts";
import { brokeProtocol, Failure } from "../core/failure.ts";
import type { UpstreamRequest } from "../core/upstream.ts";
import type { Principal } from "../core/principal.ts";
import { readRound, responsesText } from "../mcp/input-round.ts";
import type { Gateway } from "./gateway.ts";
import { admitReply } from "./outcome.ts";
import { askCaller, type Job, refusalAnswer, refusedByClient } from "./questions.ts";
import { recordRetry, type Retry } from "./state.ts";

/** How often a server may ask for input until it answers a call. */
const mostRounds = 8;

/**
 * Sends a call and answers what the server asks meanwhile over the caller's own stream. To
 * a modern server, which asks by its results, the call is sent again with the answers until it is complete.
 */
export async function exchange(
  gw: Gateway,
  call: RecordedCall,
  who: Principal,
  route: Route,
  request: UpstreamRequest,
  retry: Retry | null,
): Promise<Reply> {
  const job: Job = { gw, call, who, server: route.server };
  call.input = (request, signal) => askCaller(job, request, signal).catch(refusalAnswer);
  if (retry) await recordRetry(gw, call, retry);
  let reply = await gw.upstreams.send(call, who, route, request);
  for (let round = 1; call.inbound.era === "legacy" && asksInput(reply); round++) {
    if (round > mostRounds) throw tooOften(route.server);
    const edits = { ...request.edits, ...(await fulfil(job, reply)) };
    reply = await gw.upstreams.send(call, who, route, { ...request, edits });
  }
  return admitReply(gw, call, who, route, reply);
}

const asksInput = (reply: Reply): boolean => reply.kind === "result" && reply.type === "input_required";

/** Asks a legacy caller what a modern server's result asks for; one question after the other, as people answer. */
async function fulfil(job: Job, { text }: Reply): Promise<UpstreamRequest["edits"]> {
  const round = readRound(text);
  if (typeof round === "string") throw brokeProtocol(job.server, round);
  const answers: [key: string, answer: string][] = [];
  for (const { key, request } of round.asked) {
    const answer = await askCaller(job, request, job.call.controller.signal);
    if (answer.kind === "error") throw refusedByClient(request, answer);
    answers.push([key, answer.text]);
  }
  return {
    inputResponses: answers.length > 0 ? responsesText(answers) : null,
    requestState: round.state === null ? null : JSON.stringify(round.state),
  };
}

const tooOften = (server: string): Failure =>
  new Failure(
    "input-unavailable",
    `The server "${server}" asked for input ${mostRounds} times and still wants more. The call may have run.`,
  );
