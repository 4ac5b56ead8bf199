import { Failure } from "../core/failure.ts";
import type { Inbound } from "../core/inbound.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { failureMessage } from "../mcp/reply.ts";
import { maxOwed } from "./queue-limits.ts";

/**
 * Makes the function that keeps the answers to a batch, which are sent together: it returns the answer to one message,
 * or an error in place of one that is too long beside those before.
 */
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
    `The answers to this batch are longer together than ${most} characters, so this one is left out; send fewer messages at once. The request did run.`,
  );
