import type { Call, Reply } from "../core/call.ts";
import { type AbortControllerLike, endingWith } from "../core/cancel.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { lossOf, type Loss } from "../core/principal.ts";

/** Ends a call if its caller loses its rights. Returns a function that stops watching. */
export const endOnLoss = endingWith<AbortControllerLike>((_key, controller) => controller.abort());

const words: Record<Loss, string> = {
  revoked: "The key was revoked",
  frozen: "All callers were frozen",
  expired: "The key has expired",
  dropped: "A reload of the configuration ended or changed your rights",
};

/** Returns why a caller lost its rights, as a sentence. */
export const lossText = (revoked: AbortSignal): string => `${words[lossOf(revoked)]}.`;

/**
 * Returns the failure of a call that threw. A call that the caller cancelled gets no answer, but a call that ended
 * because its caller lost its rights, or because the gateway ended it, does.
 */
export function failureOf(call: Call, error: unknown): Failure {
  if (call.who?.revoked.aborted) return rightsLost(call, call.who.revoked);
  const { begun, controller, inbound } = call;
  const failure = asFailure(error);
  const why = controller.signal.reason;
  if (failure.code !== "cancelled" || typeof why !== "string") return failure;
  // A retry continues a call that has run up to its question.
  const isRetry = inbound.params.requestState !== undefined;
  return new Failure("lost", why, { ran: begun || isRetry ? "maybe" : "no" });
}

/** Returns the reply if its caller still has its rights, which it may lose during the call. Throws `rights-lost`. */
export function withRights(call: Call, reply: Reply): Reply {
  if (call.who?.revoked.aborted) throw rightsLost(call, call.who.revoked);
  return reply;
}

function rightsLost(call: Call, revoked: AbortSignal): Failure {
  const { begun } = call.whole ?? call;
  if (!begun) return new Failure("rights-lost", lossText(revoked));
  const lost = words[lossOf(revoked)];
  return new Failure("rights-lost", `${lost} while the call ran.`, { ran: "maybe" });
}
