import { makeTool } from "../support/call.ts";
import { type Asking, type Harness, ok, type Options, send } from "./support.ts";

// A server with tasks, and a client that declared them.

export const id = "io.modelcontextprotocol/tasks";
export const declared = { extensions: { [id]: {} } };
export const knows: Asking = { capabilities: declared };
export const servers: NonNullable<Options["servers"]> = {
  crm: { tools: [makeTool("get")], capabilities: { tools: {}, ...declared } },
  erp: { tools: [makeTool("get")], capabilities: { tools: {} } },
};
export const working = '{"taskId":"t-1","status":"working","createdAt":"2026-11-25T10:00:00Z","ttlMs":60000,"n":1.10}';

/** Turns every call into the task `t-1`, which is working. */
export const script: NonNullable<Options["script"]> = (_call, { method }) => {
  if (method === "tools/call") return ok(`{"resultType":"task",${working.slice(1)}`, "modern");
  return method === "tasks/get"
    ? ok(`{"resultType":"complete",${working.slice(1)}`, "modern")
    : ok('{"resultType":"complete"}', "modern");
};

/** Starts a task; resolves with its handle. */
export const start = async (h: Harness, asking: Asking = knows): Promise<string> =>
  String((await send(h.gw, "tools/call", { name: "crm__get" }, asking)).result.taskId);
