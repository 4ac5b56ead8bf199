import type { Tool } from "../core/call.ts";
import type { Era } from "../core/inbound.ts";
import { headerNames } from "../mcp/headers.ts";
import { closeArray, comma, locate, skipSpace, valueEnd } from "../mcp/json-text.ts";
import { clientCapabilitiesKey, clientInfoKey, protocolVersionKey } from "../mcp/meta.ts";
import { isObject } from "../mcp/message.ts";
import { type ScanLimits, scan } from "../mcp/scan.ts";
import { isModern, isRevision, latestLegacy, modernRevision } from "../mcp/revisions.ts";
import { faults, quoted } from "./faults.ts";
import type { Answer, Ask, Link, LinkHost, Peer } from "./link.ts";

const legacyPeer: Peer = { era: "legacy", revision: latestLegacy };
const modernPeer: Peer = { era: "modern", revision: modernRevision };

type Query = Pick<Ask, "method" | "peer" | "timeout"> & { readonly params?: Record<string, unknown> };

/** Asks on the gateway's own behalf. */
function query(link: Link, host: LinkHost, { method, peer, timeout, params = {} }: Query): Promise<Answer> {
  const meta = {
    [protocolVersionKey]: peer.revision,
    [clientInfoKey]: host.client,
    [clientCapabilitiesKey]: {},
  };
  const text = JSON.stringify(peer.era === "modern" ? { ...params, _meta: meta } : params);
  return link.ask({
    method,
    params: () => text,
    peer,
    timeout,
    controller: new AbortController(),
    progress: null,
    headers: null,
  });
}

/**
 * Agrees on a revision: the handshake of the legacy era first, which every server of that era answers, and where it
 * is refused `server/discover`. Throws when neither works.
 */
export async function handshake(link: Link, host: LinkHost, timeout: number): Promise<Peer> {
  const params = { protocolVersion: latestLegacy, capabilities: {}, clientInfo: host.client };
  const answer = await query(link, host, { method: "initialize", peer: legacyPeer, timeout, params });
  if (answer.kind === "error")
    return discover(link, host, timeout, `initialize: ${answer.code} ${quoted(answer.message)}`);
  const result: unknown = JSON.parse(answer.result);
  const revision = isObject(result) ? result.protocolVersion : undefined;
  if (!isRevision(revision) || isModern(revision)) {
    return discover(link, host, timeout, `it speaks the unknown revision ${quoted(String(revision))}`);
  }
  const peer: Peer = { era: "legacy", revision };
  await link.tell("notifications/initialized", null, peer);
  return peer;
}

async function discover(link: Link, host: LinkHost, timeout: number, otherwise: string): Promise<Peer> {
  const answer = await query(link, host, { method: "server/discover", peer: modernPeer, timeout });
  if (answer.kind === "error") {
    throw faults.down(host.server, `no common protocol revision (${otherwise}; server/discover: ${answer.code})`);
  }
  const result: unknown = JSON.parse(answer.result);
  const supported = isObject(result) && Array.isArray(result.supportedVersions) ? result.supportedVersions : [];
  if (supported.includes(modernRevision)) return modernPeer;
  throw faults.down(host.server, `no common protocol revision (it speaks ${quoted(supported.join(", "))})`);
}

/** Whether the server still answers; throws as `Link.ask` does. An error is an answer too. */
export async function checkHealth(link: Link, host: LinkHost, peer: Peer, timeout: number): Promise<void> {
  const method = peer.era === "modern" ? "server/discover" : "ping";
  await query(link, host, { method, peer, timeout });
}

/** Bounds of one listing: what a hostile or broken server can make us do. */
const most = { pages: 100, tools: 10_000, characters: 32 * 1024 ** 2, ms: 60_000 };

/** A tool definition that is not offered, and why. */
export type LeftOut = { readonly name: string; readonly reason: string };

/** What a server offers; `warnings` say what is wrong with the list as a whole. */
export type ToolList = {
  readonly tools: readonly Tool[];
  readonly leftOut: readonly LeftOut[];
  readonly warnings: readonly string[];
};

/** Lists all tools, page by page; a bad definition is left out, never the list. Throws when a page cannot be had. */
export async function listTools(link: Link, host: LinkHost, peer: Peer, rules: ToolRules): Promise<ToolList> {
  const deadline = performance.now() + most.ms;
  const cursors = new Set<string>();
  const texts: string[] = [];
  const warnings: string[] = [];
  let cursor: string | undefined;
  let characters = 0;
  for (let page = 1; ; page++) {
    const timeout = Math.max(1, Math.ceil(deadline - performance.now()));
    const params = cursor === undefined ? {} : { cursor };
    const answer = await query(link, host, { method: "tools/list", peer, timeout, params });
    if (answer.kind === "error") throw faults.protocol(host.server, `tools/list: ${quoted(answer.message)}`);
    const { tools, next } = readPage(answer.result, host.server);
    texts.push(...tools);
    characters += answer.result.length;
    if (next === null) break;
    const why = stop({ page, tools: texts.length, characters, repeated: cursors.has(next) });
    if (why) {
      warnings.push(`its list of tools was cut: ${why}`);
      break;
    }
    cursors.add(next);
    cursor = next;
  }
  return { ...readTools(texts.slice(0, most.tools), peer.era, rules), warnings };
}

function stop(at: { page: number; tools: number; characters: number; repeated: boolean }): string | null {
  if (at.repeated) return "a cursor came twice";
  if (at.page >= most.pages) return `more than ${most.pages} pages`;
  if (at.tools >= most.tools) return `more than ${most.tools} tools`;
  return at.characters >= most.characters ? `more than ${most.characters} characters` : null;
}

function readPage(result: string, server: string): { tools: string[]; next: string | null } {
  const parsed: unknown = JSON.parse(result);
  const span = locate(result, 0, "tools");
  if (!isObject(parsed) || !Array.isArray(parsed.tools) || !span) {
    throw faults.protocol(server, "tools/list has no list of tools");
  }
  // The empty string is a cursor too; only its absence ends the list.
  const next = typeof parsed.nextCursor === "string" ? parsed.nextCursor : null;
  return { tools: elements(result, span[0]), next };
}

/** The elements of the valid JSON array at `at`, each as it was written. */
function elements(text: string, at: number): string[] {
  const found: string[] = [];
  for (let i = skipSpace(text, at + 1); text.charCodeAt(i) !== closeArray; i = skipSpace(text, i)) {
    const end = valueEnd(text, i);
    found.push(text.slice(i, end));
    i = skipSpace(text, end);
    if (text.charCodeAt(i) === comma) i++;
  }
  return found;
}

/** What a definition has to pass to be offered. */
export type ToolRules = ScanLimits & { readonly refuses: (tool: Tool) => string | null };

/** Reads definitions as a server sent them, or as they were remembered. */
export function readTools(texts: readonly string[], era: Era, rules: ToolRules): Pick<ToolList, "tools" | "leftOut"> {
  const tools = new Map<string, Tool>();
  const leftOut: LeftOut[] = [];
  for (const text of texts) {
    const definition: unknown = JSON.parse(text);
    const { name, inputSchema } = isObject(definition) ? definition : {};
    if (typeof name !== "string" || name === "") {
      leftOut.push({ name: "?", reason: "a tool without a name" });
      continue;
    }
    const tool: Tool = { name, text, inputSchema };
    const reason = tools.has(name) ? "a second tool of this name" : faultOf(tool, era, rules);
    if (reason === null) tools.set(name, tool);
    else leftOut.push({ name, reason });
  }
  return { tools: [...tools.values()], leftOut };
}

function faultOf(tool: Tool, era: Era, rules: ToolRules): string | null {
  if (!isObject(tool.inputSchema)) return "its inputSchema is no object";
  try {
    scan(tool.text, rules);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const headers = era === "modern" ? headerNames(tool.inputSchema).invalid : null;
  return headers ?? rules.refuses(tool);
}
