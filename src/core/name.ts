import type { Kind, Route } from "./call.ts";
import { Failure } from "./failure.ts";
import { cut, plain } from "./text.ts";

/** Id of the server that offers the gateway's own tools. */
export const ownServer = "mcpgw";

/** First segments of the REST façade. */
export const restWords: ReadonlySet<string> = new Set(["invoke", "list-tools", "servers", "server"]);

/** Ids that no configured server may have: the gateway's own, and what its REST paths begin with. */
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

/** The refusal of a tool that does not exist or is hidden from the caller: the same words, so that they tell nothing. */
export const unknownTool = (name: string): Failure => new Failure("unknown-tool", `Unknown tool: ${cut(name, 200)}`);

const unknowns: Readonly<Record<Kind, (name: string) => Failure>> = {
  tool: unknownTool,
  prompt: (name) => new Failure("unknown-prompt", `Unknown prompt: ${cut(name, 200)}`),
  resource: (uri) =>
    new Failure("unknown-resource", `Resource not found: ${cut(uri, 500)}`, { data: { uri: cut(uri, 2000) } }),
  extension: (method) =>
    new Failure("unknown-method", `This gateway does not serve the method "${cut(plain(method), 100)}".`),
};

/** What begins the URIs that name their server to the gateway, and that no server knows. */
export const explicitScheme = "mcpgw+";

/** `unknownTool` for every kind: by a prompt's name, a resource's URI, an extension's method, as the caller wrote it. */
export const notFound = (kind: Kind, name: string): Failure => unknowns[kind](name);

/** The route that stands for all a server may have of a kind, for asking whether a caller has any right on it. */
export const anyOf = (kind: Kind, server: string): Route => ({
  kind,
  server,
  name: "{any}",
  tool: null,
  canonical: canonicalName(server, "*"),
  wire: "",
  template: true,
});
