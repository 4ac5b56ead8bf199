import type { Kind, Route } from "../core/call.ts";
import type { Span } from "../core/inbound.ts";
import { elements, locate, mayHold, members, openArray, openObject, stringAt, stringValue } from "../mcp/json-text.ts";
import { editMembers } from "../mcp/edit.ts";
import { metaEdit, type Rewrite } from "./app-uri.ts";
import type { HandedOut } from "./handed-out.ts";
import type { Resources } from "./resources.ts";
import { explicitUri, splitExplicit } from "./uris.ts";

// Maximum number of characters of one result's links that are compared with templates, and the minimum that each link
// counts as. Links beyond the maximum name their server; where else they might lead is not looked up.
const stepBudget = 5_000_000;
const minSteps = 500;
// Maximum number of links of one result that are remembered, so that one call cannot evict links from other calls.
const maxNotedLinks = 100;

/** The principal that receives a result, and what is known about URIs. */
export type Receiver = { readonly who: string; readonly resources: Resources; readonly handedOut: HandedOut };

/**
 * Returns a result whose links and embedded resources have their URIs on the wire; nothing else changes. URIs in no
 * list are remembered, with their server, for the receiver.
 */
export function outgoingText(route: Route, text: string, to: Receiver): string {
  if (!text.includes('"uri"') && !mayHold(text, "resourceUri")) return text;
  let noted = 0;
  const note = (uri: string): void => {
    if (noted++ < maxNotedLinks) to.handedOut.remember(to.who, route.server, uri);
  };
  const wireOf: Rewrite = (uri) => wireUri(route, uri, to, note);
  const pieces: string[] = [];
  let from = 0;
  let left = stepBudget;
  for (const [start, end] of links(text, 0, route.kind)) {
    const uri = stringAt(text, [start, end]);
    if (uri === null) continue;
    left -= Math.max(minSteps, to.resources.steps(uri));
    const wire = left < 0 ? namedUri(route, uri) : wireOf(uri);
    if (wire === null) continue;
    pieces.push(text.slice(from, start), JSON.stringify(wire));
    from = end;
  }
  return rewriteApp(pieces.length > 0 ? pieces.join("") + text.slice(from) : text, wireOf);
}

/** Returns the route of a URI below a resource. If the resource's URI had to name its server, so does this one. */
export function routeBelow({ server, name, wire }: Route, uri: string, to: Receiver): Route {
  const renamed = wire === name ? null : (to.resources.rewrites(server)?.(uri) ?? explicitUri(server, uri));
  const note = (each: string): void => to.handedOut.remember(to.who, server, each);
  return to.resources.route(server, uri, renamed ?? ownWire(server, uri, to, note) ?? uri);
}

/** Rewrites the app's URI in the `_meta` of a result, and in that of the result inside a finished task. */
function rewriteApp(text: string, wireOf: Rewrite): string {
  if (!mayHold(text, "resourceUri")) return text;
  const all = members(text);
  const valueOf = (wanted: string) => all.find(({ key }) => key === wanted)?.value;
  const [meta, inner] = [valueOf("_meta"), valueOf("result")];
  const edits = {
    ...(meta && metaEdit(text.slice(...meta), wireOf)),
    ...(inner && text.charCodeAt(inner[0]) === openObject && { result: rewriteApp(text.slice(...inner), wireOf) }),
  };
  return editMembers(text, all, edits);
}

/**
 * Returns the wire URI for a URI in a result: one that names its server if it would lead elsewhere; null if unchanged.
 */
function wireUri(route: Route, uri: string, to: Receiver, note: (uri: string) => void): string | null {
  const own = ownUri(route, uri);
  if (own !== null) return own === uri ? null : own;
  return ownWire(route.server, uri, to, note);
}

/** Returns the wire URI that leads to the server of a result, whatever other servers offer. */
const namedUri = (route: Route, uri: string): string => ownUri(route, uri) ?? explicitUri(route.server, uri);

/** Returns the wire URI of the resource that was read, or null for another URI. */
const ownUri = ({ kind, name, wire }: Route, uri: string): string | null =>
  kind === "resource" && uri === name ? wire : null;

function ownWire(
  server: string,
  uri: string,
  { resources, who }: Receiver,
  note: (uri: string) => void,
): string | null {
  // A URI that names a server would lead to that server, so it gets the name of its own server in front.
  if (splitExplicit(uri)) return explicitUri(server, uri);
  const renamed = resources.rewrites(server)?.(uri) ?? null;
  if (renamed !== null) return renamed;
  const routes = resources.routes(uri, who);
  if (routes.length === 0) note(uri);
  return routes.every((each) => each.server === server) ? null : explicitUri(server, uri);
}

/** Returns the positions of URIs in a result, in text order: the URIs in members that the protocol defines as links. */
function links(text: string, at: number, kind: Kind): Span[] {
  return members(text, at).flatMap(({ key, value: [start] }): Span[] => {
    if (key === "content") return blocks(text, start);
    if (key === "contents") return uris(text, start);
    if (key === "messages") return elements(text, start).flatMap(([each]) => inMessage(text, each));
    // A finished task contains the result of its call.
    if (key === "result" && text.charCodeAt(start) === openObject) return links(text, start, kind);
    return kind === "extension" || kind === "resource" ? inSkills(text, key, start) : [];
  });
}

/** Returns the positions in skills, and in the entries of a directory that was read (SEP-2640). */
function inSkills(text: string, key: string, at: number): Span[] {
  if (key === "resources") return uris(text, at);
  if (key === "skill") return inSkill(text, at);
  return key === "skills" ? elements(text, at).flatMap(([each]) => inSkill(text, each)) : [];
}

const inSkill = (text: string, at: number): Span[] =>
  members(text, at).flatMap(({ key, value }) =>
    key === "uri" ? [value] : key === "resources" ? uris(text, value[0]) : [],
  );

const uris = (text: string, at: number): Span[] => elements(text, at).flatMap(([each]) => uriOf(text, each));

function inMessage(text: string, at: number): Span[] {
  const content = locate(text, at, "content");
  return content ? blocks(text, content[0]) : [];
}

/** Returns the links in `content`: one block or an array of blocks. */
function blocks(text: string, at: number): Span[] {
  if (text.charCodeAt(at) !== openArray) return inBlock(text, at);
  return elements(text, at).flatMap(([each]) => inBlock(text, each));
}

function inBlock(text: string, at: number): Span[] {
  const type = stringValue(text, at, "type");
  if (type === "resource_link") return uriOf(text, at);
  const resource = type === "resource" ? locate(text, at, "resource") : null;
  return resource ? uriOf(text, resource[0]) : [];
}

function uriOf(text: string, at: number): Span[] {
  const uri = locate(text, at, "uri");
  return uri ? [uri] : [];
}
