import type { Call, LogLevel } from "../core/call.ts";
import { logLevels } from "../core/call.ts";
import type { ClientCapabilities, Era } from "../core/inbound.ts";
import { editObject } from "../mcp/edit.ts";

/** What a server is told of a client: exactly what the client said, but for the tasks that ended with 2025-11-25. */
export function mirrored(call: Call): string {
  const { text, value } = call.capabilities;
  if (call.inbound.era === "modern" || !Object.hasOwn(value, "tasks")) return text;
  let known = withoutTasks.get(call.capabilities);
  if (known === undefined) withoutTasks.set(call.capabilities, (known = editObject(text, { tasks: null })));
  return known;
}

// What a session declared lives as long as the session.
const withoutTasks = new WeakMap<ClientCapabilities, string>();

/** Whether a client declared any extension (2026-07-28), so that results of other types may come. */
export function hasExtensions({ value: { extensions } }: ClientCapabilities): boolean {
  return typeof extensions === "object" && extensions !== null && Object.keys(extensions).length > 0;
}

const isLevel = (text: string | null): text is LogLevel => logLevels.some((level) => level === text);

/**
 * The least severe log messages that a caller wants: null for none, `default` for what the server sends unasked, which
 * is what a legacy client gets that never set a level.
 */
export function wantedLevel({ inbound, session }: Call): LogLevel | "default" | null {
  if (inbound.era === "legacy") return session?.logLevel ?? "default";
  return isLevel(inbound.logLevel) ? inbound.logLevel : null;
}

/** The era that a call is made in: its caller's where the server speaks it, which loses nothing, else the other. */
export function eraFor(caller: Era, speaks: { readonly modern: boolean; readonly legacy: boolean | null }): Era {
  if (caller === "modern") return speaks.modern ? "modern" : "legacy";
  return speaks.legacy ? "legacy" : "modern";
}
