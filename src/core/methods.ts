/** The requests of both eras that the gateway knows, not counting methods of extensions. */
export const requestMethods = [
  "initialize",
  "server/discover",
  "ping",
  "logging/setLevel",
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "tools/call",
  "prompts/get",
  "resources/read",
  "completion/complete",
  "resources/subscribe",
  "resources/unsubscribe",
  "subscriptions/listen",
  "tasks/get",
  "tasks/update",
  "tasks/cancel",
] as const;
export type RequestMethod = (typeof requestMethods)[number];

const requests: ReadonlySet<string> = new Set(requestMethods);
const notifications: ReadonlySet<string> = new Set([
  "notifications/initialized",
  "notifications/cancelled",
  "notifications/progress",
  "notifications/roots/list_changed",
]);

const serverNotifications: ReadonlySet<string> = new Set([
  "notifications/cancelled",
  "notifications/progress",
  "notifications/message",
  "notifications/tools/list_changed",
  "notifications/prompts/list_changed",
  "notifications/resources/list_changed",
  "notifications/resources/updated",
  "notifications/elicitation/complete",
  "notifications/subscriptions/acknowledged",
]);
// Task notifications are not passed on: a server's own task id does not tell whose task it is.
const taskNotification = /^notifications\/tasks(\/|$)/;

/** Reports whether a server's notification can only belong to an extension other than tasks. */
export function isExtensionNotification(method: string): boolean {
  return !serverNotifications.has(method) && !taskNotification.test(method);
}

/** Narrows to a request that the gateway knows. */
export function isRequestMethod(method: string): method is RequestMethod {
  return requests.has(method);
}

/** Returns the method if the gateway knows it, else `other`: a label of low cardinality. */
export function methodLabel(method: string): string {
  return requests.has(method) || notifications.has(method) ? method : "other";
}
