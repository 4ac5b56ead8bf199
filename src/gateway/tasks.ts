import type { Call, IdentifiedCall, Route, RoutedCall } from "../core/call.ts";
import { protocolViolation, Failure } from "../core/failure.ts";
import { tasksExtension } from "../core/inbound.ts";
import { plainRoute } from "../core/name.ts";
import { maxSealMs } from "../core/ports.ts";
import { editObject } from "../mcp/edit.ts";
import { readInputRequests } from "../mcp/input-round.ts";
import { locate, rawValue, stringValue } from "../mcp/json-text.ts";
import { declaredExtensions } from "./extensions.ts";
import { type Gateway, inScope } from "./gateway.ts";
import { admitAll } from "./input/asking.ts";
import type { Resolved } from "./resolved.ts";

// Tasks (`io.modelcontextprotocol/tasks`): instead of the server's task id, a caller gets a sealed handle, which is
// useless to others and which the gateway does not have to store.

/** The content of a sealed handle. */
type Sealed = {
  readonly server: string;
  readonly taskId: string;
  /** The canonical name of the tool that created the task. */
  readonly tool: string;
};

const purpose = "task";
const dayMs = 86_400_000;
/** Minimum lifetime of a handle. A longer `ttlMs` extends it up to `maxSealMs`; the server itself ends the task. */
const minHandleAgeMs = 30 * dayMs;
/** Limited because clients repeat the handle in a header, and a handle is longer than the id sealed in it. */
const maxTaskIdLength = 1024;

/**
 * Rewrites a task result for its caller, with a sealed handle instead of the taskId and every question checked. Returns
 * null if the taskId is missing or too long.
 */
export async function issueHandle(gw: Gateway, call: RoutedCall, result: string): Promise<string | null> {
  const { route } = call;
  const taskId = stringValue(result, 0, "taskId");
  if (taskId === null || taskId.length > maxTaskIdLength) return null;
  const ttlMs = Number(rawValue(result, 0, "ttlMs")) || 0;
  const ageMs = Math.min(Math.max(ttlMs, minHandleAgeMs), maxSealMs);
  const sealed: Sealed = { server: route.server, taskId, tool: route.canonical };
  const handle = gw.sealer.seal(purpose, call.who.id, JSON.stringify(sealed), ageMs);
  return withHandle(gw, call, result, JSON.stringify(handle));
}

/** A caller's task: its id at the server, and the route of the tool that created it, even if the tool is gone. */
export type Task = { readonly taskId: string; readonly route: Route };

/** Opens a caller's handle if the task's server and tool are in the call's scope. Returns null for any other text. */
export function openTask(gw: Gateway, call: IdentifiedCall, handle: unknown): Task | null {
  const { who } = call;
  const text = typeof handle === "string" ? gw.sealer.open(purpose, who.id, handle) : null;
  if (text === null) return null;
  const { server, taskId, tool } = JSON.parse(text) as Sealed; // sealed here, by the function above
  if (!inScope(gw, call.scope).some((each) => each.server === server)) return null;
  const name = tool.slice(server.length + 1);
  const route = gw.catalog.find(tool) ?? plainRoute("tool", server, name, tool);
  return gw.catalog.admits(route, call.scope) ? { taskId, route } : null;
}

/**
 * Resolves a task request, which is decided like the call that created the task. Foreign, unknown and forbidden tasks
 * get the same refusal, so that a caller cannot tell which ones exist.
 */
export function resolveTask(gw: Gateway, call: IdentifiedCall): Resolved {
  needTasks(call);
  const { method, params } = call.inbound;
  const task = openTask(gw, call, params.taskId);
  if (!task) throw unknownTask();
  const { taskId, route } = task;
  return {
    route,
    request: { method, edits: { taskId: JSON.stringify(taskId) } },
    decide: () => decideTask(gw, call, route),
  };
}

/** Throws `missing-capability` if the client did not declare tasks. */
export function needTasks({ capabilities }: Call): void {
  if (Object.hasOwn(declaredExtensions(capabilities.value), tasksExtension)) return;
  throw new Failure("missing-capability", `The client did not declare the extension ${tasksExtension}.`, {
    data: { requiredCapabilities: { extensions: { [tasksExtension]: {} } } },
  });
}

/** Decides on a task, whose arguments are not known: it is allowed if its tool is allowed with some arguments. */
export const judgeTask = ({ policy }: Pick<Gateway, "policy">, { who, source }: IdentifiedCall, route: Route) =>
  policy.judge(who, source, route, null);

function decideTask(gw: Gateway, call: IdentifiedCall, route: Route): void {
  const { allowed, ...verdict } = judgeTask(gw, call, route);
  call.policy = gw.policy.digest;
  call.verdict = verdict;
  if (!allowed) throw unknownTask();
}

const unknownTask = (): Failure => new Failure("unknown-task", "Task not found.");

/** Returns a task's state with the caller's handle (raw JSON) after every question in it was checked. */
export async function withHandle(gw: Gateway, call: RoutedCall, state: string, handle: string): Promise<string> {
  const asked = readInputRequests(state);
  if (typeof asked === "string") throw protocolViolation(call.route.server, asked);
  await admitAll(gw, call, asked);
  return locate(state, 0, "taskId") ? editObject(state, { taskId: handle }) : state;
}
