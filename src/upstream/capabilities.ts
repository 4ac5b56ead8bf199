import type { Call, Party } from "../core/call.ts";
import { type ClientCapabilities, hasExtensions, tasksExtension } from "../core/inbound.ts";
import { memoize } from "../core/memoize.ts";
import { editObject } from "../mcp/edit.ts";
import { locate } from "../mcp/json-text.ts";

/**
 * The capabilities of a client as a legacy server is told them: in the client's own words, but without the tasks that
 * only 2025-11-25 had.
 */
export const declaredCapabilities = ({ capabilities }: Pick<Party, "capabilities">): string =>
  Object.hasOwn(capabilities.value, "tasks") ? withoutTasks(capabilities) : capabilities.text;

/** As a modern server is told them with each request. A legacy caller can be given no task of it. */
export function capabilitiesInRequest(call: Call): string {
  if (call.inbound.era === "modern") return call.capabilities.text;
  const text = declaredCapabilities(call);
  const at = hasExtensions(call.capabilities) ? locate(text, 0, "extensions") : null;
  return at ? editObject(text, { extensions: editObject(text.slice(...at), { [tasksExtension]: null }) }) : text;
}

const withoutTasks = memoize(({ text }: ClientCapabilities) => editObject(text, { tasks: null }));
