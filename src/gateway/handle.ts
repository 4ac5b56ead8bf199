import { type Call, type IdentifiedCall, type Reply, type RoutedCall, setCaller, setRoute } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { weightOf } from "../core/inbound.ts";
import type { UpstreamRequest } from "../core/upstream.ts";
import { checkParamHeaders } from "../mcp/headers.ts";
import { admitReply } from "./admit-reply.ts";
import { conclude } from "./conclude.ts";
import { type Gateway, whenSettled } from "./gateway.ts";
import { askCaller, refusalAnswer } from "./input/asking.ts";
import { bridge, needsBridge } from "./input/bridge.ts";
import { endRefused } from "./input/refused-retry.ts";
import { requireVisited, type NewRequest, recordRetry, retryOf } from "./input/retry.ts";
import { answersInRounds, resume, Rounds } from "./input/rounds.ts";
import { type Governed, methodOf } from "./methods.ts";
import type { Resolved } from "./resolved.ts";
import { endOnLoss, failureOf, withRights } from "./revocation.ts";

/** The only notification of legacy clients that is passed on to servers. */
const passedOn = "notifications/roots/list_changed";

/**
 * Runs the whole path of one request. Resolves when the call has ended and its end is recorded; `call.reply` or
 * `call.failure` then holds what the caller gets. Never throws.
 */
export async function handle(gw: Gateway, call: Call): Promise<void> {
  try {
    setCaller(call, gw.authn.identify(call));
    const leave = enter(gw, call);
    try {
      refuseFaults(call);
      if (call.inbound.kind === "request") {
        const method = methodOf(call);
        const reply = typeof method === "function" ? method(gw, call) : govern(gw, call, method);
        call.reply = withRights(call, await reply);
      } else if (call.inbound.method === passedOn) gw.upstreams.notify(call, call.inbound.method);
    } finally {
      leave();
    }
  } catch (error) {
    call.failure = failureOf(call, error);
  }
  await conclude(gw, call);
}

/** Resolves a request to its target at a server, decides it, limits it, checks its arguments, and forwards it. */
async function govern(gw: Gateway, call: IdentifiedCall, method: Governed): Promise<Reply> {
  // The client may know the thing from earlier, while its server is still starting.
  if (!method.offered(gw, call)) gw = await whenSettled(gw, call);
  // Or the server shows the thing only to clients like this one, and this is the first since the gateway started.
  if (method.learn && !method.offered(gw, call)) gw = await method.learn(gw, call);
  if (call.controller.signal.aborted) throw new Failure("cancelled", "The call was cancelled before it was made.");
  let resolved: Resolved;
  try {
    resolved = method.resolve(gw, call);
    setRoute(call, resolved.route);
    if (resolved.decide) resolved.decide();
    else gw.policy.decide(call, call.who, call.route);
  } catch (error) {
    throw await endRefused(gw, call, error);
  }
  const retry = retryOf(gw, call);
  // All rounds are one call: the first request took the token, was validated and recorded, and its state opens only
  // with the same arguments. Admission and policy are checked again in each round.
  if (retry?.kind === "parked") return resume(gw, call, retry);
  const { request: plain } = resolved;
  const request = retry ? { ...plain, edits: { ...plain.edits, ...retry.edits } } : plain;
  gw.limits.take(call.who, method.callsTool ? call.route : null);
  if (method.callsTool) checkArguments(gw, call);
  if (method.opens) return method.opens(gw, call);
  if (!answersInRounds(call)) return forward(gw, call, request, retry);
  return new Rounds(gw, call).start(call, (whole) => forward(gw, whole, request, retry));
}

/** Records the begin of a call, sends it to its server, and turns the server's reply into the caller's. */
async function forward(
  gw: Gateway,
  routed: RoutedCall,
  request: UpstreamRequest,
  retry: NewRequest | null,
): Promise<Reply> {
  // Held so that no reload considers the server idle while the record is written or a legacy caller is asked.
  const { route } = routed;
  const leave = gw.upstreams.hold(route.server);
  try {
    const call = await gw.audit.begin(routed);
    // A call that is answered in rounds already has its own way to ask.
    call.input ??= (question, signal) =>
      askCaller(gw, call, question, signal).catch((error: unknown) => refusalAnswer(error, gw.log));
    if (retry) {
      await recordRetry(gw, call, retry);
      requireVisited(route, retry);
    }
    let reply = await gw.upstreams.send(call, request);
    if (needsBridge(call, reply)) reply = await bridge(gw, call, request, reply);
    return await admitReply(gw, call, reply);
  } finally {
    leave();
  }
}

/**
 * Admits a call and ends it if its caller loses its rights. Returns a function that releases it. Only requests count
 * toward the limit, so that a client at its limit can still cancel and answer.
 */
function enter(gw: Gateway, call: IdentifiedCall): () => void {
  const { who } = call;
  // An answer that cannot be parsed has the kind of a request.
  const counted = call.inbound.kind === "request" && !call.inbound.answer;
  const weight = weightOf(call.inbound);
  if (counted) gw.limits.admit(who, weight);
  const unwatch = endOnLoss(who.revoked, call.controller);
  return () => {
    unwatch();
    if (counted) gw.limits.release(who, weight);
  };
}

/** Throws faults that the transport found. Only after the caller is identified can the refusal be recorded. */
function refuseFaults(call: IdentifiedCall): void {
  if (call.fault) throw call.fault;
  if (call.session && call.session.owner !== call.who.id) throw sessionNotFound();
}

function checkArguments(gw: Gateway, call: RoutedCall): void {
  const { route, inbound } = call;
  const { paramHeaders } = inbound;
  if (paramHeaders && route.tool) checkParamHeaders(paramHeaders, route.tool.inputSchema, inbound);
  gw.validator.check(call, route);
}

/** Returns the failure for an ended, an unknown or another caller's session, which a caller cannot distinguish. */
export function sessionNotFound(remedy = "send initialize to open a new one"): Failure {
  return new Failure("session-not-found", `This session is unknown or has ended; ${remedy}.`);
}
