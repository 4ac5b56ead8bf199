import type { Kind } from "./call.ts";

/** A list: its method, the capability that announces it, the member that identifies its items, and their kind. */
type Row = { method: string; capability: "tools" | "prompts" | "resources"; key: string; kind: Kind; noun: string };

/** The lists of the protocol, by their names in results. */
export const lists = {
  tools: { method: "tools/list", capability: "tools", key: "name", kind: "tool", noun: "tool" },
  prompts: { method: "prompts/list", capability: "prompts", key: "name", kind: "prompt", noun: "prompt" },
  resources: { method: "resources/list", capability: "resources", key: "uri", kind: "resource", noun: "resource" },
  resourceTemplates: {
    method: "resources/templates/list",
    capability: "resources",
    key: "uriTemplate",
    kind: "resource",
    noun: "resource template",
  },
} as const satisfies Record<string, Row>;

export type ListName = keyof typeof lists;
export const listNames: readonly ListName[] = ["tools", "prompts", "resources", "resourceTemplates"];

/** Calls `make` for each list. */
export const mapLists = <T>(make: (list: ListName) => T): Readonly<Record<ListName, T>> => ({
  tools: make("tools"),
  prompts: make("prompts"),
  resources: make("resources"),
  resourceTemplates: make("resourceTemplates"),
});

/** The lists of one capability; one notification announces changes in all of them. */
export type ListGroup = Row["capability"];
export const listGroups: readonly ListGroup[] = ["tools", "prompts", "resources"];

/** Returns the method of the notification that announces a change. */
export const changedMethod = (group: ListGroup): string => `notifications/${group}/list_changed`;
const changes: ReadonlySet<string> = new Set(listGroups.map(changedMethod));
/** Reports whether even a slow reader must get a notification: nothing would make up for a change that it missed. */
export const mustDeliver = (method: string): boolean => changes.has(method);
/** Returns the key by which a listening client requests it (2026-07-28, subscriptions). */
export const changedKey = (group: ListGroup): string => `${group}ListChanged`;
