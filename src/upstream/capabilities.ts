import type { Call, Party } from "../core/call.ts";
import { type ClientCapabilities, hasExtensions, tasksExtension } from "../core/inbound.ts";
import { memoize } from "../core/memoize.ts";
import { editObject } from "../mcp/edit.ts";
import { locate } from "../mcp/json-text.ts";

/**
 * The capabilities of a client as a server is told them: in the client's own words, but without the tasks that only
 * 2025-11-25 had.
 */
export function declaredCapabilities(call: Pick<Party, "capabilities" | "inbound">): string {
  const { text, value } = call.capabilities;
  return call.inbound.era === "modern" || !Object.hasOwn(value, "tasks") ? text : withoutTasks(call.capabilities);
}

/** The same for a request to a modern server. A legacy caller can be given no task of it. */
export function capabilitiesInRequest(call: Call): string {
  const text = declaredCapabilities(call);
  const at = call.inbound.era === "legacy" && hasExtensions(call.capabilities) ? locate(text, 0, "extensions") : null;
  return at ? editObject(text, { extensions: editObject(text.slice(...at), { [tasksExtension]: null }) }) : text;
}

const withoutTasks = memoize(({ text }: ClientCapabilities) => editObject(text, { tasks: null }));
