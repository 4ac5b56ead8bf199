import { isObject } from "./json.ts";
import { isRequestMethod } from "./methods.ts";

type Capabilities = Readonly<Record<string, unknown>>;

/** Long-running calls whose result is fetched later. The gateway handles their messages itself. */
export const tasksExtension = "io.modelcontextprotocol/tasks";

/** Methods whose name does not contain their extension's. They read the resource named by `uri`. */
export const reads: Readonly<Record<string, string>> = {
  "resources/directory/read": "io.modelcontextprotocol/skills",
};

/** The extensions that a client's or server's capabilities declare, by id, with their settings (2026-07-28). */
export function declaredExtensions({ extensions }: Capabilities): Record<string, unknown> {
  return isObject(extensions) ? extensions : {};
}

/** Whether any extension is declared, which allows further types of results and further notifications. */
export function hasExtensions(capabilities: Capabilities): boolean {
  return Object.keys(declaredExtensions(capabilities)).length > 0;
}

/** The declared extensions to which a method may belong. */
export function extensionsOf(method: string, capabilities: Capabilities): string[] {
  // Those of tasks are never passed on: a server's own task id does not say whose task it is.
  if (isRequestMethod(method) || isNamedAfter(tasksExtension, method)) return [];
  const alias = Object.hasOwn(reads, method) ? reads[method] : undefined;
  return Object.keys(declaredExtensions(capabilities)).filter((id) =>
    alias === undefined ? isNamedAfter(id, method) : id === alias,
  );
}

/** Whether two peers have both declared an extension to which a method may belong. */
export function shareMethod(method: string, one: Capabilities, other: Capabilities): boolean {
  const theirs = declaredExtensions(other);
  return extensionsOf(method, one).some((id) => Object.hasOwn(theirs, id));
}

/** Whether a method bears the name of an extension: its whole id, or as methods of MCP's own do, the last part of it. */
const isNamedAfter = (id: string, method: string): boolean =>
  method === id || method.startsWith(`${id}/`) || method.startsWith(`${id.slice(id.lastIndexOf("/") + 1)}/`);
