import type { Call, Party } from "../core/call.ts";
import { type ClientCapabilities, hasExtensions, tasksExtension } from "../core/inbound.ts";
import { memoize } from "../core/memoize.ts";
import { editObject } from "../mcp/edit.ts";
import { locate } from "../mcp/json-text.ts";

/** The client's own JSON for a legacy server, without `tasks`, which exists only in 2025-11-25. */
export const declaredCapabilities = ({ capabilities }: Pick<Party, "capabilities">): string =>
  Object.hasOwn(capabilities.value, "tasks") ? withoutTasks(capabilities) : capabilities.text;

/** The capabilities for a request to a modern server. A legacy caller cannot be given a task, so tasks are removed. */
export function capabilitiesInRequest(call: Call): string {
  if (call.inbound.era === "modern") return call.capabilities.text;
  const text = declaredCapabilities(call);
  const at = hasExtensions(call.capabilities) ? locate(text, 0, "extensions") : null;
  return at ? editObject(text, { extensions: editObject(text.slice(...at), { [tasksExtension]: null }) }) : text;
}

const withoutTasks = memoize(({ text }: ClientCapabilities) => editObject(text, { tasks: null }));
