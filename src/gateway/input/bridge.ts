import type { BegunCall, Call, Reply } from "../../core/call.ts";
import { protocolViolation, Failure } from "../../core/failure.ts";
import type { UpstreamRequest } from "../../core/upstream.ts";
import { outcomeOf, readRound, responsesText } from "../../mcp/input-round.ts";
import type { Gateway } from "../gateway.ts";
import { askCaller, asking, refusedByClient } from "./asking.ts";

/** Maximum number of times that a server may ask for input before it answers a call. */
const maxRounds = 8;

/** Reports whether a server's result asks for input although the caller's era has no such results. */
export const needsBridge = ({ inbound }: Call, reply: Reply): boolean =>
  inbound.era === "legacy" && reply.kind === "result" && reply.type === "input_required";

/** Asks a legacy caller over its stream and sends the request again with the answers, until a result is complete. */
export async function bridge(gw: Gateway, call: BegunCall, request: UpstreamRequest, first: Reply): Promise<Reply> {
  let reply = first;
  for (let round = 1; needsBridge(call, reply); round++) {
    if (round > maxRounds) throw tooManyRounds(call.route.server);
    const edits = { ...request.edits, ...(await asking(answerQuestions(gw, call, reply))) };
    reply = await gw.upstreams.send(call, { ...request, edits }).catch((error: unknown) => {
      throw lostBetween(error);
    });
  }
  return reply;
}

/** Asks the caller a result's questions one after the other, as people answer them, and returns the answers. */
async function answerQuestions(gw: Gateway, call: BegunCall, { text }: Reply): Promise<UpstreamRequest["edits"]> {
  const round = readRound(text);
  if (typeof round === "string") throw protocolViolation(call.route.server, round);
  const answers: [key: string, answer: string][] = [];
  for (const { key, request } of round.asked) {
    const answer = await askCaller(gw, call, request, call.controller.signal);
    if (outcomeOf(request.method, answer) === "error") throw refusedByClient(request, answer);
    answers.push([key, answer.text]);
  }
  return {
    inputResponses: answers.length > 0 ? responsesText(answers) : null,
    requestState: round.state === null ? null : JSON.stringify(round.state),
  };
}

/** Turns the failure of a request that did not run into `lost`, because the call ran up to its question. */
function lostBetween(error: unknown): unknown {
  if (!(error instanceof Failure) || error.detail.ran !== "no") return error;
  const { internal = error.said } = error.detail;
  return new Failure("lost", error.said, { ran: "maybe", internal });
}

const tooManyRounds = (server: string): Failure =>
  new Failure("input-unavailable", `The server "${server}" asked for input ${maxRounds} times and still wants more.`, {
    ran: "maybe",
  });
