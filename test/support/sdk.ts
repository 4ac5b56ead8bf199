import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as StdioV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import {
  Client as ClientV2,
  type ClientCapabilities,
  StreamableHTTPClientTransport as HttpV2,
} from "@modelcontextprotocol/client";
import { StdioClientTransport as StdioV2 } from "@modelcontextprotocol/client/stdio";
import type { Place } from "./daemon.ts";
import { mcpgw } from "./mcpgw.ts";

/** An official client library and its configured era; modern probes and falls back. */
export const lines = ["1.x", "2.x legacy", "2.x modern"] as const;
export type Line = (typeof lines)[number];

/** Where a client connects: an address with an optional key, or a command that it starts itself. */
export type Target =
  | { readonly url: string; readonly key?: string }
  | { readonly command: readonly string[]; readonly env: Readonly<Record<string, string>>; readonly cwd?: string };

export type Members = Readonly<Record<string, unknown>>;
export type Listed = { readonly name: string } & Members;
type CallOptions = { readonly onprogress?: (progress: unknown) => void; readonly signal?: AbortSignal };

const questions = {
  "elicitation/create": ElicitRequestSchema,
  "sampling/createMessage": CreateMessageRequestSchema,
  "roots/list": ListRootsRequestSchema,
};
type Question = keyof typeof questions;
const asks = Object.keys(questions) as Question[];

const news = {
  "notifications/message": LoggingMessageNotificationSchema,
  "notifications/tools/list_changed": ToolListChangedNotificationSchema,
};
type News = keyof typeof news;

/** What a client declares and how it answers; `progress` reports progress if the request asked for it. */
export type Part = {
  readonly capabilities: ClientCapabilities;
  answer(method: Question, params: Members, progress: (progress: number) => Promise<void>): unknown;
};

/** The common interface of all official clients. */
export type Peer = AsyncDisposable & {
  /** The server's name and version. */
  readonly server: { readonly name: string } | undefined;
  /** The capabilities that the server declares. */
  readonly offered: Members;
  /** Returns the tools of all pages. */
  tools(): Promise<Listed[]>;
  /** These return the first page of each other list. */
  prompts(): Promise<Listed[]>;
  resources(): Promise<Listed[]>;
  resourceTemplates(): Promise<Listed[]>;
  call(name: string, args?: Record<string, unknown>, options?: CallOptions): Promise<unknown>;
  prompt(name: string, args?: Record<string, string>): Promise<unknown>;
  read(uri: string): Promise<unknown>;
  ping(): Promise<unknown>;
  on(news: News, listener: (params: Members) => void): void;
  /** Announces that its roots have changed. */
  rootsChanged(): Promise<void>;
  /** Returns the session id, if there is one (over HTTP). */
  session(): string | undefined;
  /** Ends the session on the server, if there is one. */
  terminate(): Promise<void>;
  close(): Promise<void>;
};

const self = { name: "sdk-test", version: "1" };

const http = (key: string | undefined) => (key ? { requestInit: { headers: { Authorization: `Bearer ${key}` } } } : {});

function spawned({ command: [command = "", ...args], env, cwd }: Extract<Target, { command: readonly string[] }>) {
  return { command, args, env: { ...env }, stderr: "ignore", ...(cwd !== undefined && { cwd }) } as const;
}

/** Connects an unmodified official client, as its documentation describes. */
export function connect(line: Line, target: Target, part?: Part): Promise<Peer> {
  if (line !== "1.x") return connectV2(line, target, part);
  return connectV1(
    "url" in target ? new HttpV1(new URL(target.url), http(target.key)) : new StdioV1(spawned(target)),
    part,
  );
}

/** Connects a 1.x client; its transports do not satisfy their own interface under exactOptionalPropertyTypes. */
export async function connectV1(transport: unknown, part?: Part): Promise<Peer> {
  const client = new ClientV1(self, { capabilities: part?.capabilities ?? {} });
  for (const method of part ? asks : []) {
    client.setRequestHandler(questions[method] as typeof ElicitRequestSchema, ({ params }, { _meta: meta, ...rest }) =>
      answerOf(part, method, params, meta?.progressToken, rest.sendNotification),
    );
  }
  await client.connect(transport as TransportV1);
  return peerOf(client, transport, {
    call: (name, args = {}, options = {}) => client.callTool({ name, arguments: args }, undefined, { ...options }),
    on: (kind, listener) =>
      client.setNotificationHandler(news[kind] as typeof LoggingMessageNotificationSchema, ({ params }) =>
        listener(params),
      ),
  });
}

async function connectV2(line: Line, target: Target, part?: Part): Promise<Peer> {
  const mode = line === "2.x modern" ? "auto" : "legacy";
  const client = new ClientV2(self, { capabilities: part?.capabilities ?? {}, versionNegotiation: { mode } });
  for (const method of part ? asks : []) {
    client.setRequestHandler(method as "elicitation/create", ({ params }, { mcpReq }) =>
      answerOf(part, method, params, mcpReq._meta?.progressToken, mcpReq.notify),
    );
  }
  const transport = "url" in target ? new HttpV2(new URL(target.url), http(target.key)) : new StdioV2(spawned(target));
  await client.connect(transport);
  return peerOf(client, transport, {
    call: (name, args = {}, options = {}) => client.callTool({ name, arguments: args }, options),
    on: (kind, listener) =>
      client.setNotificationHandler(kind as "notifications/message", ({ params }) => listener(params)),
  });
}

type Notify = (notification: {
  method: "notifications/progress";
  params: { progressToken: string | number; progress: number };
}) => Promise<void>;

/** Returns any value that a test wants as an answer; the libraries check it. */
function answerOf(
  part: Part | undefined,
  method: Question,
  params: unknown,
  progressToken: string | number | undefined,
  notify: Notify,
) {
  const progress = async (at: number): Promise<void> => {
    if (progressToken !== undefined)
      await notify({ method: "notifications/progress", params: { progressToken, progress: at } });
  };
  return part?.answer(method, (params ?? {}) as Members, progress) as never;
}

/** Returns the interface of a client: the parts common to both libraries, and the library's own parts. */
function peerOf(client: ClientV1 | ClientV2, transport: unknown, own: Pick<Peer, "call" | "on">): Peer {
  const pipe = transport as Partial<HttpV1>; // a transport has a session only over HTTP
  return {
    ...own,
    server: client.getServerVersion(),
    offered: client.getServerCapabilities() ?? {},
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
    prompts: async () => (await client.listPrompts()).prompts,
    resources: async () => (await client.listResources()).resources,
    resourceTemplates: async () => (await client.listResourceTemplates()).resourceTemplates,
    prompt: (name, args = {}) => client.getPrompt({ name, arguments: args }),
    read: (uri) => client.readResource({ uri }),
    ping: () => client.ping(),
    rootsChanged: () => client.sendRootsListChanged(),
    session: () => pipe.sessionId,
    terminate: async () => pipe.terminateSession?.(),
    close: () => client.close(),
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** Returns `mcpgw serve` of an installation as the target of a client that starts its servers itself. */
export function serveCommand(place: Place, key?: string): Target {
  return {
    command: [...mcpgw, "serve", ...place.flags()],
    env: place.env(key === undefined ? {} : { MCPGW_API_KEY: key }),
    cwd: place.dir,
  };
}

/** Returns a result without what the gateway may add to it: its own name in `_meta`. */
export function unstamped(result: unknown): unknown {
  if (typeof result !== "object" || result === null || !("_meta" in result)) return result;
  const { _meta, ...rest } = result;
  const { "io.modelcontextprotocol/serverInfo": _, ...meta } = _meta as Record<string, unknown>;
  return Object.keys(meta).length > 0 ? { ...rest, _meta: meta } : rest;
}
