import type { Reply, RoutedCall } from "../core/call.ts";
import { protocolViolation, Failure } from "../core/failure.ts";
import { tasksExtension } from "../core/inbound.ts";
import { isObject, objectIn } from "../core/json.ts";
import { ownServer } from "../core/name.ts";
import { maxSealedLength } from "../core/ports.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import { editObject } from "../mcp/edit.ts";
import { readRound, urlQuestions } from "../mcp/input-round.ts";
import { paramText } from "../mcp/message.ts";
import { withoutOwnKeys } from "../mcp/meta.ts";
import { specOf } from "../mcp/methods.ts";
import { sharedExtensions } from "./extensions.ts";
import type { Gateway } from "./gateway.ts";
import { asksOf } from "./input/client-answers.ts";
import { admitAll, asking } from "./input/asking.ts";
import { roundReply, sealState } from "./input/retry.ts";
import { issueHandle, withHandle } from "./tasks.ts";

type Result = Extract<Reply, { kind: "result" }>;
type Refusal = Extract<Reply, { kind: "error" }>;

/**
 * Turns a server's reply into the one that is recorded and sent to the caller. Questions are checked, recorded and
 * sealed; a task gets a handle; an unknown `resultType` fails the call, because it cannot be checked.
 */
export function admitReply(gw: Gateway, call: RoutedCall, reply: Reply): Reply | Promise<Reply> {
  // A reply that the gateway's own tools relay from a server has already been admitted.
  if (call.route.server === ownServer) return reply;
  if (reply.kind === "error") return admitError(gw, call, reply);
  return admitResult(gw, call, withText(reply, withoutOwnKeys(reply.text)));
}

function admitResult(gw: Gateway, call: RoutedCall, reply: Result): Reply | Promise<Reply> {
  const { route } = call;
  const linked = (): Result => withText(reply, gw.catalog.outgoing(route, reply.text, call.who));
  if (reply.type === null) return call.inbound.method.startsWith("tasks/") ? taskState(gw, call, linked()) : linked();
  if (reply.type === "input_required") return admitRound(gw, call, reply);
  if (reply.type === "task") return admitTask(gw, call, reply);
  const agreed = sharedExtensions(gw, call, route.server).filter((id) => id !== tasksExtension);
  if (agreed.length > 0) return linked();
  throw protocolViolation(route.server, `its result has a type that belongs to no extension of this client`);
}

const withText = (reply: Result, text: string): Result => (text === reply.text ? reply : { ...reply, text });

async function taskState(gw: Gateway, call: RoutedCall, reply: Result): Promise<Result> {
  const handle = paramText(call.inbound, "taskId") ?? "null";
  return withText(reply, await withHandle(gw, call, reply.text, handle));
}

async function admitRound(gw: Gateway, call: RoutedCall, reply: Result): Promise<Reply> {
  const { server } = call.route;
  if (!specOf(call.inbound.method)?.inRounds)
    throw protocolViolation(server, `it asks for input in response to ${call.inbound.method}`);
  const round = readRound(reply.text);
  if (typeof round === "string") throw protocolViolation(server, round);
  await asking(admitAll(gw, call, round.asked));
  const { state } = round;
  // Sealed even if the server gave no state, because the seal lists the questions, and only those may be answered.
  const kept = { kind: "state", state, of: call.id, asks: asksOf(round.asked) } as const;
  const sealed = sealState(gw, call, kept);
  // A longer state could not be opened when it comes back.
  if (sealed.length > maxSealedLength)
    throw protocolViolation(
      server,
      `its requestState is too long: sealed, it has more than ${maxSealedLength} characters`,
    );
  return { ...reply, text: editObject(reply.text, { requestState: JSON.stringify(sealed) }) };
}

async function admitTask(gw: Gateway, call: RoutedCall, reply: Result): Promise<Reply> {
  const { server } = call.route;
  const agreed = call.inbound.era === "modern" && sharedExtensions(gw, call, server).includes(tasksExtension);
  if (!agreed || call.inbound.method !== "tools/call")
    throw protocolViolation(server, "it answers with a task, but the client did not ask for one");
  const text = await issueHandle(gw, call, reply.text);
  if (text === null) throw protocolViolation(server, "its task has no taskId, or its taskId is too long");
  return { ...reply, text };
}

function admitError(gw: Gateway, call: RoutedCall, reply: Refusal): Reply | Promise<Reply> {
  if (reply.code === rpcCodes.missingCapability && reply.era === "modern") return capabilityMissing(call, reply);
  if (reply.code === rpcCodes.urlElicitation) return visitFirst(gw, call, reply);
  return reply;
}

/** Turns a server's missing-capability error into one about the caller, unless the caller declared the capability. */
function capabilityMissing(call: RoutedCall, reply: Refusal): Reply {
  const { data } = objectIn(reply.text);
  const required = isObject(data) && isObject(data.requiredCapabilities) ? data.requiredCapabilities : {};
  const missing = missingOf(required, call.capabilities.value);
  if (missing.length === 0) return reply;
  const message = `The server "${call.route.server}" needs what the client did not declare: ${missing.join(", ")}.`;
  if (call.inbound.era === "legacy") throw new Failure("input-undeclared", message);
  throw new Failure("missing-capability", message, { data: { requiredCapabilities: required } });
}

function missingOf(required: Record<string, unknown>, declared: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(required).flatMap(([name, needs]) => {
    const has = declared[name];
    if (!isObject(has)) return [name];
    return isObject(needs) ? missingOf(needs, has).map((part) => `${name}.${part}`) : [];
  });
}

/**
 * Handles a server's error that URLs must be visited before the call is made again. It is a question like any other: a
 * modern caller is asked in a round, a legacy caller by the error itself, even if a modern server sent it.
 */
async function visitFirst(gw: Gateway, call: RoutedCall, reply: Refusal): Promise<Reply> {
  const modern = call.inbound.era === "modern";
  // If the method allows no rounds, a modern caller gets the error without the URLs.
  if (modern && !specOf(call.inbound.method)?.inRounds) return reply;
  const asked = urlQuestions(reply.text);
  if (typeof asked === "string") throw protocolViolation(call.route.server, asked);
  await admitAll(gw, call, asked);
  if (asked.length === 0) return reply;
  if (!modern) return { ...reply, era: "legacy" };
  return roundReply(gw, call, asked, { kind: "again", of: call.id, asks: asksOf(asked) });
}
