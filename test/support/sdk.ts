import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as StdioV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js";
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from "@modelcontextprotocol/client";
import { StdioClientTransport as StdioV2 } from "@modelcontextprotocol/client/stdio";
import type { Place } from "./daemon.ts";
import { mcpgw } from "./mcpgw.ts";

/** An official client library and the era that it is told to speak; modern probes and falls back. */
export type Line = "1.x" | "2.x legacy" | "2.x modern";

/** Where a client connects: an address with an optional key, or a command that it starts itself. */
export type Target =
  | { readonly url: string; readonly key?: string }
  | { readonly command: readonly string[]; readonly env: Readonly<Record<string, string>>; readonly cwd?: string };

export type Listed = { readonly name: string } & Readonly<Record<string, unknown>>;
type CallOptions = { readonly onprogress?: (progress: unknown) => void; readonly signal?: AbortSignal };

/** What all official clients can do, said once. */
export type Peer = AsyncDisposable & {
  /** What the server calls itself. */
  readonly server: { readonly name: string } | undefined;
  /** All pages. */
  tools(): Promise<Listed[]>;
  /** The first page of every other list. */
  others(): Promise<Record<"prompts" | "resources" | "resourceTemplates", Listed[]>>;
  call(name: string, args?: Record<string, unknown>, options?: CallOptions): Promise<unknown>;
  ping(): Promise<unknown>;
  onToolsChanged(listener: () => void): void;
  /** The id of the session, over HTTP where there is one. */
  session(): string | undefined;
  /** Ends the session on the server, where there is one. */
  terminate(): Promise<void>;
};

const self = { name: "sdk-test", version: "1" };

/** Connects an official client, unchanged, as its documentation says. */
export function connect(line: Line, target: Target): Promise<Peer> {
  return line === "1.x" ? connectV1(target) : connectV2(line, target);
}

const bearer = (key: string | undefined) =>
  key ? { requestInit: { headers: { Authorization: `Bearer ${key}` } } } : {};

function spawned({ command: [command = "", ...args], env, cwd }: Extract<Target, { command: readonly string[] }>) {
  return { command, args, env: { ...env }, stderr: "ignore", ...(cwd !== undefined && { cwd }) } as const;
}

async function connectV1(target: Target): Promise<Peer> {
  const client = new ClientV1(self);
  const transport =
    "url" in target ? new HttpV1(new URL(target.url), bearer(target.key)) : new StdioV1(spawned(target));
  // The library's own transports miss its interface under exactOptionalPropertyTypes.
  await client.connect(transport as TransportV1);
  return {
    server: client.getServerVersion(),
    async tools() {
      const all: Listed[] = [];
      let cursor: string | undefined;
      do {
        const page = await client.listTools(cursor === undefined ? {} : { cursor });
        all.push(...page.tools);
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      return all;
    },
    others: async () => ({
      prompts: (await client.listPrompts()).prompts,
      resources: (await client.listResources()).resources,
      resourceTemplates: (await client.listResourceTemplates()).resourceTemplates,
    }),
    call: (name, args = {}, options = {}) => client.callTool({ name, arguments: args }, undefined, { ...options }),
    ping: () => client.ping(),
    onToolsChanged: (listener) => client.setNotificationHandler(ToolListChangedNotificationSchema, listener),
    session: () => ("sessionId" in transport ? transport.sessionId : undefined),
    async terminate() {
      if ("terminateSession" in transport) await transport.terminateSession();
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

async function connectV2(line: Line, target: Target): Promise<Peer> {
  const client = new ClientV2(self, { versionNegotiation: { mode: line === "2.x modern" ? "auto" : "legacy" } });
  const transport =
    "url" in target ? new HttpV2(new URL(target.url), bearer(target.key)) : new StdioV2(spawned(target));
  await client.connect(transport);
  return {
    server: client.getServerVersion(),
    tools: async () => (await client.listTools()).tools,
    others: async () => ({
      prompts: (await client.listPrompts()).prompts,
      resources: (await client.listResources()).resources,
      resourceTemplates: (await client.listResourceTemplates()).resourceTemplates,
    }),
    call: (name, args = {}, options = {}) => client.callTool({ name, arguments: args }, options),
    ping: () => client.ping(),
    onToolsChanged: (listener) => client.setNotificationHandler("notifications/tools/list_changed", listener),
    session: () => ("sessionId" in transport ? transport.sessionId : undefined),
    async terminate() {
      if ("terminateSession" in transport) await transport.terminateSession();
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** `mcpgw serve` of an installation, for a client that starts its servers itself. */
export function serveCommand(place: Place, key?: string): Target {
  return {
    command: [...mcpgw, "serve", ...place.flags()],
    env: place.env(key === undefined ? {} : { MCPGW_API_KEY: key }),
    cwd: place.dir,
  };
}

/** A result without what the gateway may add to it: its own name in `_meta`. */
export function unstamped(result: unknown): unknown {
  if (typeof result !== "object" || result === null || !("_meta" in result)) return result;
  const { _meta, ...rest } = result;
  const { "io.modelcontextprotocol/serverInfo": _, ...meta } = _meta as Record<string, unknown>;
  return Object.keys(meta).length > 0 ? { ...rest, _meta: meta } : rest;
}
