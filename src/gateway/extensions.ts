import type { Call, IdentifiedCall, Route } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { tasksExtension } from "../core/inbound.ts";
import { isObject } from "../core/json.ts";
import { checkLength, explicitScheme, maxNameLength, notFound } from "../core/name.ts";
import { cut, plain } from "../core/text.ts";
import type { Listing } from "../core/upstream.ts";
import { paramText } from "../mcp/message.ts";
import { type Gateway, inScope } from "./gateway.ts";
import type { Resolved } from "./resolved.ts";

/** Methods that are not named after their extension. They read the resource named by `uri`. */
const reads: Readonly<Record<string, string>> = { "resources/directory/read": "io.modelcontextprotocol/skills" };

/** Returns the extensions that a client's or server's capabilities declare: settings by extension id. */
export function declaredExtensions(capabilities: Listing["capabilities"]): Record<string, unknown> {
  const extensions = capabilities?.extensions;
  return isObject(extensions) ? extensions : {};
}

/** Returns the ids of the extensions that both the caller and a server have declared. */
export function sharedExtensions(gw: Gateway, call: Call, server: string): string[] {
  const listing = gw.upstreams.listings().find((each) => each.server === server);
  const theirs = declaredExtensions(listing?.capabilities ?? null);
  return Object.keys(declaredExtensions(call.capabilities.value)).filter((id) => Object.hasOwn(theirs, id));
}

/** Reports whether a method that is in no revision may belong to an extension that the caller declared. */
export function isExtensionMethod({ inbound: { method }, capabilities }: Call): boolean {
  return extensionsOf(method, capabilities.value).length > 0;
}

function extensionsOf(method: string, capabilities: Readonly<Record<string, unknown>>): string[] {
  const alias = Object.hasOwn(reads, method) ? reads[method] : undefined;
  // Never passed on, because a server's own task id does not tell whose task it is.
  if (isNamedAfter(tasksExtension, method)) return [];
  return Object.keys(declaredExtensions(capabilities)).filter((id) =>
    alias === undefined ? isNamedAfter(id, method) : id === alias,
  );
}

/** Whether a method is named after an extension's id or, as MCP's own methods are, after its last segment. */
const isNamedAfter = (id: string, method: string): boolean =>
  method === id || method.startsWith(`${id}/`) || method.startsWith(`${id.slice(id.lastIndexOf("/") + 1)}/`);

/**
 * Resolves an extension method. Its server is that of the resource named by `uri`, or else the only server in scope
 * that declares the extension and that the caller may know of. A method that only reads a resource is decided as a
 * read. Throws the failure of a denied method if no server fits, `invalid-params` if several fit or a name is too long.
 */
export function resolveExtension(gw: Gateway, call: IdentifiedCall): Resolved {
  const { who } = call;
  const { method, params } = call.inbound;
  const uri = typeof params.uri === "string" ? params.uri : null;
  if (uri !== null) checkLength("resource", uri);
  const onlyReads = uri !== null && Object.hasOwn(reads, method);
  const servers = serversOf(gw, call, onlyReads);
  const resource = uri === null ? null : resourceOf(gw, call, uri, servers);
  const [kind, name] = onlyReads ? (["resource", uri] as const) : (["extension", method] as const);
  call.target = cut(name, maxNameLength);
  checkLength("extension", method);
  if (uri?.startsWith(explicitScheme) && !resource) throw notFound("resource", uri);
  const routeAt = (id: string): Route => gw.catalog.routeTo(kind, id, name);
  const server = resource?.server ?? onlyServer(gw, call, servers, routeAt);
  if (server === null) throw notFound(kind, name);
  let named: Route | null = null;
  if (uri !== null) {
    named = resource ?? gw.catalog.routeTo("resource", server, uri);
    if (!gw.catalog.admits(named, call.scope)) throw notFound("resource", uri);
  }
  const route = onlyReads && named ? named : routeAt(server);
  return {
    route,
    // The server gets its own URI of the resource, and no member that a case-insensitive server would read as `uri`.
    request: { method, edits: { uri: named ? JSON.stringify(named.name) : paramText(call.inbound, "uri") } },
    decide() {
      gw.policy.decide(call, who, route, named);
      if (!named || named === route) return;
      const { verdict } = call;
      // The caller needs permission for both the method and the resource; neither implies the other.
      gw.policy.decide(call, who, named);
      call.verdict = verdict;
    },
  };
}

/**
 * Returns the resource that a method names, if it belongs to one of `servers`; null if the caller knows no such
 * resource, so that only the server can tell. Throws if it belongs to another server, which does not serve the method.
 */
function resourceOf(gw: Gateway, call: IdentifiedCall, uri: string, servers: readonly string[]): Route | null {
  const { who } = call;
  const offered = gw.catalog.offers("resource", uri, call.scope, call);
  const resource = offered ? gw.catalog.resolve(call, "resource", uri) : null;
  if (resource && servers.includes(resource.server)) return resource;
  if (resource && gw.policy.lists(who, resource, call.source)) {
    const { method } = call.inbound;
    throw new Failure("unknown-method", `The server of ${show(uri)} does not serve the method "${show(method)}".`);
  }
  return null;
}

/** Returns the servers in scope that serve an extension method. A toolset has to include the method too. */
function serversOf(gw: Gateway, { inbound: { method }, capabilities, scope }: Call, onlyReads: boolean): string[] {
  const wanted = extensionsOf(method, capabilities.value);
  const declares = (theirs: Listing): boolean =>
    wanted.some((id) => Object.hasOwn(declaredExtensions(theirs.capabilities), id));
  const serving = inScope(gw, scope).flatMap((each) => (declares(each) ? [each.server] : []));
  if (onlyReads) return serving;
  return serving.filter((server) => gw.catalog.admits(gw.catalog.routeTo("extension", server, method), scope));
}

/**
 * Returns the only server that the caller may know to serve the method. If there is none, returns one for which policy
 * then denies the method as if no server served it; null if no server serves it. Throws if there are several.
 */
function onlyServer(
  { policy }: Gateway,
  { who, source, inbound: { method } }: IdentifiedCall,
  servers: readonly string[],
  routeAt: (server: string) => Route,
): string | null {
  const seen = servers.filter((server) => policy.lists(who, routeAt(server), source));
  if (seen.length > 1) throw ambiguous(method, seen);
  return seen[0] ?? servers[0] ?? null;
}

const ambiguous = (method: string, servers: readonly string[]): Failure =>
  new Failure(
    "invalid-params",
    `The servers ${servers.join(", ")} all serve the method "${show(method)}"; use the endpoint of one of them, e.g. /mcp/${servers[0]}.`,
  );

const show = (method: string): string => plain(cut(method, 100));
