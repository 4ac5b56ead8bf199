import type { Kind, Route } from "./call.ts";
import { Failure } from "./failure.ts";
import { cut, plain } from "./text.ts";

/** Id of the server that offers the gateway's own tools. */
export const ownServer = "mcpgw";

/** First segments of the REST façade. */
export const restWords: ReadonlySet<string> = new Set(["invoke", "list-tools", "servers", "server"]);

/** Ids that no configured server may have: the gateway's own, and the first segments of its REST paths. */
export const reservedServers: ReadonlySet<string> = new Set([ownServer, ...restWords]);

/** Between server and tool on the wire; server ids never contain it. */
export const separator = "__";

/** `server:tool`, what policy, audit and CLI speak. */
export const canonicalName = (server: string, tool: string): string => `${server}:${tool}`;

/** Splits `server:tool` at the first colon, which no server id contains; null when there is none. */
export function splitCanonical(text: string): { readonly server: string; readonly tool: string } | null {
  const at = text.indexOf(":");
  return at < 1 ? null : { server: text.slice(0, at), tool: text.slice(at + 1) };
}

/**
 * The globs of a tool or prompt and of its server (null: any) in a rule or a limit: without a `server` beside it,
 * `crm:q_*` is short for server crm and name q_*.
 */
export function splitSelector(selector: string, server: string | undefined) {
  const split = server === undefined ? splitCanonical(selector) : null;
  return { server: server ?? split?.server ?? null, name: split?.tool ?? selector };
}

/** Signs of other languages of patterns, and of several names in one. */
const otherPattern = /[[\]{}|,]|^[!^\s]|[$\s]$/;

/** How a name and its server are written in a rule or a limit. */
export const besideServer =
  (kind: "tool" | "prompt") =>
  (server: string, name: string): string =>
    `server: ${server}, ${kind}: ${JSON.stringify(name)}`;

/**
 * What is wrong with a glob of names that begins with one of its servers, as names do on the wire, or as `server:tool`
 * does where `server:` stands `beside` it, or that is written in another language of patterns; null: nothing is.
 * `spelled` is how such a name has to be written.
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
    return `begins with its server, as no name does here: write ${spelled(server, name)}`;
  }
  if (!otherPattern.test(glob)) return null;
  return `only * and ? are wildcards, all else in ${JSON.stringify(glob)} stands for itself; write an entry for each name`;
}

const unknowns: Readonly<Record<Kind, (name: string) => Failure>> = {
  tool: (name) => unknownTool(name, ""),
  prompt: (name) => new Failure("unknown-prompt", `Unknown prompt: ${cut(name, 200)}`),
  resource: (uri) =>
    new Failure("unknown-resource", `Resource not found: ${cut(uri, 500)}`, { data: { uri: cut(uri, 2000) } }),
  extension: (method) =>
    new Failure("unknown-method", `This gateway does not serve the method "${cut(plain(method), 100)}".`),
};

/** The scheme of URIs that tell the gateway their server; servers do not know it. */
export const explicitScheme = "mcpgw+";

/** Most characters of a name, URI or method that a caller may use: policy compares each of the ways to read a URI. */
export const longestName = 8192;

/** Throws `invalid-params` if a name is too long. */
export function checkLength(kind: Kind, name: string): void {
  if (name.length <= longestName) return;
  const what = kind === "resource" ? "URI" : "name";
  const of = kind === "extension" ? "method" : kind;
  throw new Failure("invalid-params", `The ${what} of the ${of} is longer than ${longestName} characters.`);
}

const unknownTool = (name: string, advice: string): Failure =>
  new Failure("unknown-tool", `Unknown tool: ${cut(name, 200)}${advice}`);

/** The refusal of a tool that the caller may use, but named as operators do, as `server:tool`. */
export const misnamedTool = (name: string, wire: string): Failure =>
  unknownTool(name, `; its name for MCP clients is ${wire}`);

/**
 * The refusal of what does not exist or is hidden from the caller, by its name, URI or method as the caller wrote it.
 * Both get the same words, so that these reveal nothing.
 */
export const notFound = (kind: Kind, name: string): Failure => unknowns[kind](name);

/** The route of a thing of which only the name is known; one that nobody asks for by it has none on the wire. */
export const plainRoute = (kind: Kind, server: string, name: string, wire = ""): Route => ({
  kind,
  server,
  name,
  tool: null,
  canonical: canonicalName(server, name),
  wire,
});
