import type { Call, Reply } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Principal } from "../core/principal.ts";
import { cut, plain } from "../core/text.ts";
import { checkParamHeaders } from "../mcp/headers.ts";
import type { Gateway } from "./gateway.ts";
import { endWith } from "./revocation.ts";
import { answers } from "./answers.ts";

/**
 * The whole path of one request. Resolves when the call has ended and its ending is recorded; `call.reply` or
 * `call.failure` then says what the caller may be told. Never throws.
 */
export async function handle(gw: Gateway, call: Call): Promise<void> {
  let leave: (() => void) | null = null;
  try {
    const who = (call.who = gw.authn.identify(call));
    leave = enter(gw, call, who);
    refuseFaults(call, who);
    if (call.inbound.kind === "request") call.reply = await answer(gw, call, who);
  } catch (error) {
    call.failure = call.who?.revoked.aborted ? rightsLost() : asFailure(error);
  }
  leave?.();
  await conclude(gw, call);
}

/** What ended the call was the loss of its key: unlike one that its caller gave up, it is owed an answer. */
function rightsLost(): Failure {
  return new Failure("unauthenticated", "The key was revoked, has expired or was frozen while the call ran.");
}

/** Refuses a request before the path, with the same record and count as on it. */
export async function refuse(gw: Gateway, call: Call, failure: Failure): Promise<void> {
  call.failure = failure;
  await conclude(gw, call);
}

/** Admits a call; from here on it ends with its caller's key. Returns the way out. */
function enter(gw: Gateway, call: Call, who: Principal): () => void {
  gw.limits.admit(call, who);
  const stay = endWith(who.revoked, call.controller);
  return () => {
    stay();
    gw.limits.release(call, who);
  };
}

function answer(gw: Gateway, call: Call, who: Principal): Reply | Promise<Reply> {
  const { method } = call.inbound;
  if (method === "tools/call") return callTool(gw, call, who);
  const own = Object.hasOwn(answers, method) ? answers[method] : undefined;
  if (own) return own(gw, call, who);
  throw new Failure("unknown-method", `This gateway does not serve the method "${cut(plain(method), 100)}".`);
}

async function callTool(gw: Gateway, call: Call, who: Principal): Promise<Reply> {
  // A client may call at once what it was shown before, while the tool's server is still starting.
  const { name } = call.inbound.params;
  if (!gw.catalog.offers("tool", name, call.scope)) await gw.booted;
  if (call.controller.signal.aborted) throw new Failure("cancelled", "The call was given up before it was made.");
  const route = (call.route = gw.catalog.resolve(call, who, "tool", name));
  call.verdict = gw.policy.decide(call, who, route);
  gw.limits.take(call, who, route);
  const { paramHeaders, params } = call.inbound;
  if (paramHeaders && route.tool) checkParamHeaders(paramHeaders, route.tool.inputSchema, params.arguments);
  gw.validator.check(call, route);
  await gw.audit.begin(call);
  return gw.upstreams.send(call, who, route, { method: "tools/call", edits: { name: JSON.stringify(route.name) } });
}

/** What the transport found wrong is refused only now that the caller is known, so that the refusal is on record. */
function refuseFaults(call: Call, who: Principal): void {
  if (call.fault) throw call.fault;
  if (call.session && call.session.owner !== who.id) throw sessionNotFound();
}

/** The same words for a session that ended, never was, or is somebody else's. */
export function sessionNotFound(): Failure {
  return new Failure("session-not-found", "This session is unknown or has ended; send initialize to open a new one.");
}

/** Every ending is counted, and each that governs or refuses something is on record before the reply may leave. */
async function conclude(gw: Gateway, call: Call): Promise<void> {
  call.took = gw.clock.mono() - call.started;
  try {
    const recorded = gw.audit.end(call);
    // A log that has just been waited for in vain is offered the refusal, but nobody waits for it a second time.
    if (call.failure?.code === "audit-unavailable" && !call.begun) recorded.catch(() => {});
    else await recorded;
  } catch (error) {
    call.reply = null;
    call.failure = asFailure(error);
  }
  const internal = call.failure?.detail.internal;
  if (internal) gw.log.error("request failed", { call: call.id, code: call.failure?.code, cause: internal });
  gw.metrics.count(call);
}
