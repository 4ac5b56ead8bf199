import type { Era } from "../core/inbound.ts";
import { isRequestMethod, type RequestMethod } from "../core/methods.ts";

/**
 * The kinds of results that the eras treat differently: `call` may hold structured content, `list` and `read` may be
 * cached, `round` asks for input, `own` is written by the gateway in its final form, `extension` answers a method that
 * no revision defines, `other` is everything else.
 */
export type Shape = "call" | "list" | "read" | "round" | "own" | "other" | "extension";

/** One request method of the protocol. */
type Spec = {
  readonly eras: readonly Era[];
  readonly result: Shape;
  /** The parameter that names the target; `Mcp-Name` repeats it (2026-07-28, streamable HTTP). */
  readonly names?: "name" | "uri" | "taskId";
  /** Whether the answer may ask for input (2026-07-28, MRTR). */
  readonly inRounds?: true;
};

const legacy: readonly Era[] = ["legacy"];
const modern: readonly Era[] = ["modern"];
const both: readonly Era[] = ["legacy", "modern"];

/** `gateway/methods.ts` defines how each method is answered. */
const specs: Readonly<Record<RequestMethod, Spec>> = {
  initialize: { eras: legacy, result: "other" },
  "server/discover": { eras: modern, result: "own" },
  ping: { eras: legacy, result: "other" },
  "logging/setLevel": { eras: legacy, result: "other" },
  "tools/list": { eras: both, result: "list" },
  "prompts/list": { eras: both, result: "list" },
  "resources/list": { eras: both, result: "list" },
  "resources/templates/list": { eras: both, result: "list" },
  "tools/call": { eras: both, result: "call", names: "name", inRounds: true },
  "prompts/get": { eras: both, result: "other", names: "name", inRounds: true },
  "resources/read": { eras: both, result: "read", names: "uri", inRounds: true },
  "completion/complete": { eras: both, result: "other" },
  "resources/subscribe": { eras: legacy, result: "other" },
  "resources/unsubscribe": { eras: legacy, result: "other" },
  "subscriptions/listen": { eras: modern, result: "own" },
  "tasks/get": { eras: modern, result: "other", names: "taskId" },
  "tasks/update": { eras: modern, result: "other", names: "taskId" },
  "tasks/cancel": { eras: modern, result: "other", names: "taskId" },
};

/** Returns the protocol's definition of a method, or null if no revision defines it. */
export const specOf = (method: string): Spec | null => (isRequestMethod(method) ? specs[method] : null);
