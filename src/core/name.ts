import type { Kind, Route } from "./call.ts";
import { Failure } from "./failure.ts";
import { cut, plain } from "./text.ts";

/** Id of the server that offers the gateway's own tools. */
export const ownServer = "mcpgw";

/** First path segments of the REST façade. */
export const restWords: ReadonlySet<string> = new Set(["invoke", "list-tools", "servers", "server"]);

/** Ids that no configured server may have: the gateway's own, and the first segments of its REST paths. */
export const reservedServers: ReadonlySet<string> = new Set([ownServer, ...restWords]);

/** Separates server and tool on the wire; server ids never contain it. */
export const separator = "__";

/** Returns `server:tool`, as used by policy, audit and CLI. */
export const canonicalName = (server: string, tool: string): string => `${server}:${tool}`;

/** Splits `server:tool` at the first colon, which no server id contains; null if there is none. */
export function splitCanonical(text: string): { readonly server: string; readonly tool: string } | null {
  const at = text.indexOf(":");
  return at < 1 ? null : { server: text.slice(0, at), tool: text.slice(at + 1) };
}

/** Returns what follows a server's id in a wire or canonical name; null if the name does not begin with that id. */
export function nameBehind(server: string, text: string): string | null {
  const between = [separator, ":"].find((each) => text.startsWith(server + each));
  return between === undefined ? null : text.slice(server.length + between.length);
}

/**
 * Returns the globs of a tool or prompt and of its server (null: any) in a rule or limit. Without a separate `server`,
 * `crm:q_*` is short for server crm and name q_*.
 */
export function splitSelector(selector: string, server: string | undefined) {
  const split = server === undefined ? splitCanonical(selector) : null;
  return { server: server ?? split?.server ?? null, name: split?.tool ?? selector };
}

/** Signs of other pattern languages, or of several names in one pattern. */
const otherPattern = /[[\]{}|,]|^[!^\s]|[$\s]$/;

/** Formats a name and its server as written in a rule or limit. */
export const besideServer =
  (kind: "tool" | "prompt") =>
  (server: string, name: string): string =>
    `server: ${server}, ${kind}: ${JSON.stringify(name)}`;

/**
 * Returns what is wrong with a glob of names: it starts with its server, in the form `server__` or (if `server:` is a
 * separate key `beside` it) `server:`, or it is written in another pattern language. Null if nothing is wrong.
 * `spelled` formats the correct spelling.
 */
export function nameFault(
  glob: string,
  servers: readonly string[],
  beside: boolean,
  spelled: (server: string, name: string) => string,
): string | null {
  for (const between of beside ? [separator, ":"] : [separator]) {
    const server = servers.find((id) => glob.startsWith(id + between));
    if (server === undefined) continue;
    const name = glob.slice(server.length + between.length);
    return `starts with its server, which names here do not include; write ${spelled(server, name)}`;
  }
  if (!otherPattern.test(glob)) return null;
  return `only * and ? are wildcards, all else in ${JSON.stringify(glob)} is literal; write one entry per name`;
}

const unknowns: Readonly<Record<Kind, (name: string) => Failure>> = {
  tool: (name) => unknownTool(name, ""),
  prompt: (name) => new Failure("unknown-prompt", `Unknown prompt: ${cut(name, 200)}`),
  resource: (uri) =>
    new Failure("unknown-resource", `Resource not found: ${cut(uri, 500)}`, { data: { uri: cut(uri, 2000) } }),
  extension: (method) =>
    new Failure("unknown-method", `This gateway does not serve the method "${cut(plain(method), 100)}".`),
};

/** The scheme of URIs that name their server to the gateway; servers do not know it. */
export const explicitScheme = "mcpgw+";

/** Maximum length of a name, URI or method from a caller: policy compares every reading of a URI. */
export const maxNameLength = 8192;

/** Throws `invalid-params` if a name is too long. */
export function checkLength(kind: Kind, name: string): void {
  if (name.length <= maxNameLength) return;
  const what = kind === "resource" ? "URI" : "name";
  const of = kind === "extension" ? "method" : kind;
  throw new Failure("invalid-params", `The ${what} of the ${of} is longer than ${maxNameLength} characters.`);
}

const unknownTool = (name: string, advice: string): Failure =>
  new Failure("unknown-tool", `Unknown tool: ${cut(name, 200)}${advice}`);

/** The refusal of a tool that the caller may use, but named as operators do, as `server:tool`. */
export const misnamedTool = (name: string, wire: string): Failure =>
  unknownTool(name, `; its name for MCP clients is ${wire}`);

/**
 * Returns the refusal of an item, by its name, URI or method as the caller wrote it. It reads the same whether the item
 * does not exist or is hidden from the caller.
 */
export const notFound = (kind: Kind, name: string): Failure => unknowns[kind](name);

/** Returns the route of an item of which only the name is known; `wire` is empty if no caller asks for it by name. */
export const plainRoute = (kind: Kind, server: string, name: string, wire = ""): Route => ({
  kind,
  server,
  name,
  tool: null,
  canonical: canonicalName(server, name),
  wire,
});
