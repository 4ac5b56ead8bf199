import type { Call, Route } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { isRequestMethod } from "../core/methods.ts";
import { canonicalName } from "../core/name.ts";
import type { Catalog, Errand } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { cut, plain } from "../core/text.ts";
import { isObject } from "../mcp/message.ts";
import type { Gateway } from "./gateway.ts";
import { inScope } from "./scope.ts";

/** Long-running calls whose result is fetched later; the gateway takes part in it. */
export const tasksExtension = "io.modelcontextprotocol/tasks";

/** Methods that are not named after their extension. */
const named: Readonly<Record<string, string>> = { "resources/directory/read": "io.modelcontextprotocol/skills" };

/** The extensions that a client's or server's capabilities declare, by id, with their settings. */
export function declaredExtensions(capabilities: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return isObject(capabilities.extensions) ? capabilities.extensions : {};
}

/** The extensions that the caller and a server have both declared. */
export function sharedExtensions(gw: Gateway, call: Call, server: string): string[] {
  const listing = gw.upstreams.listings().find((each) => each.server === server);
  const theirs = declaredExtensions(listing?.capabilities ?? {});
  return Object.keys(declaredExtensions(call.capabilities.value)).filter((id) => Object.hasOwn(theirs, id));
}

/** Whether a method may be that of an extension which the caller declared. */
export function isExtensionMethod({ inbound: { method }, capabilities }: Call): boolean {
  return !isRequestMethod(method) && extensionsOf(method, capabilities.value).length > 0;
}

function extensionsOf(method: string, capabilities: Readonly<Record<string, unknown>>): string[] {
  const alias = Object.hasOwn(named, method) ? named[method] : undefined;
  const [first] = method.split("/");
  return Object.keys(declaredExtensions(capabilities)).filter((id) =>
    alias === undefined ? method.includes("/") && id.slice(id.lastIndexOf("/") + 1) === first : id === alias,
  );
}

/**
 * Where the method of an extension goes: to the one server in the scope that declares the extension too, as the
 * resource that it names by `uri`, else as itself. Throws `unknown-method` where no server does, `invalid-params`
 * where several do.
 */
export function extensionRoute(gw: Gateway, call: Call, who: Principal): Route {
  const { method, params } = call.inbound;
  const wanted = extensionsOf(method, call.capabilities.value);
  const declares = (capabilities: Readonly<Record<string, unknown>>): boolean =>
    wanted.some((id) => Object.hasOwn(declaredExtensions(capabilities), id));
  const servers = inScope(gw, call.scope).filter(({ capabilities }) => declares(capabilities));
  call.target = cut(method, 200);
  const { uri } = params;
  if (typeof uri === "string" && gw.catalog.offers("resource", uri, call.scope)) {
    const route = gw.catalog.resolve(call, who, "resource", uri);
    if (servers.some(({ server }) => server === route.server)) return route;
  }
  const [one, ...more] = servers.map(({ server }) => server);
  if (one === undefined) throw new Failure("unknown-method", `No server here serves the method "${show(method)}".`);
  if (more.length > 0) throw ambiguous(method, [one, ...more]);
  return routeTo(gw.catalog, one, method, typeof uri === "string" ? uri : null);
}

/** What of the parameters belongs to the wire: the URI by which the resource is known here. */
export function extensionErrand(call: Call, { kind, name }: Route): Errand {
  return { method: call.inbound.method, edits: kind === "resource" ? { uri: JSON.stringify(name) } : {} };
}

const ambiguous = (method: string, servers: readonly string[]): Failure =>
  new Failure(
    "invalid-params",
    `The servers ${servers.join(", ")} all serve the method "${show(method)}"; use the endpoint of one of them, e.g. /mcp/${servers[0]}.`,
  );

const show = (method: string): string => plain(cut(method, 100));

/** Routes are compared by identity, so one catalog makes each once; callers choose the names, hence the cap. */
const made = new WeakMap<Catalog, Map<string, Route>>();
const mostRoutes = 1_000;

function routeTo(catalog: Catalog, server: string, method: string, uri: string | null): Route {
  let routes = made.get(catalog);
  if (!routes) made.set(catalog, (routes = new Map()));
  const name = uri ?? method;
  const key = JSON.stringify([server, uri === null, name]);
  const found = routes.get(key);
  if (found) return found;
  const kind = uri === null ? "extension" : "resource";
  const route: Route = { kind, server, name, tool: null, canonical: canonicalName(server, name), wire: name };
  if (routes.size >= mostRoutes) routes.clear();
  routes.set(key, route);
  return route;
}
