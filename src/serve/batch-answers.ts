import { Failure } from "../core/failure.ts";
import type { Inbound } from "../core/inbound.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { failureMessage } from "../mcp/reply.ts";
import { maxOwed } from "./queue-limits.ts";

/** Returns a function that replaces an answer to a batch with an error if the answers together would be too long. */
export function keepBatch(gw: Gateway): (inbound: Inbound, answer: string) => string {
  const most = maxOwed(gw);
  let length = 0;
  return (inbound, answer) => {
    if (length + answer.length > most) return failureMessage(tooLong(most), inbound, gw.identity);
    length += answer.length;
    return answer;
  };
}

const tooLong = (most: number): Failure =>
  new Failure(
    "result-too-large",
    `The answers to this batch exceed ${most} characters together, so this one is omitted; send fewer messages at once. The request did run.`,
  );
