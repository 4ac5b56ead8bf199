import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from "@modelcontextprotocol/client";
import type { Line } from "./sdk.ts";

// Official clients that answer what servers ask: the user's, the model's and the file system's part.

/** What a client was asked, in order. */
type Asked = { readonly method: string; readonly params: unknown };

/** An answering client, said once for both libraries. */
export type Answering = AsyncDisposable & {
  readonly asked: Asked[];
  /** Log messages that arrived. */
  readonly logged: unknown[];
  /** Has the gateway find out what its servers offer to such a client. */
  list(): Promise<unknown>;
  call(name: string, args?: Record<string, unknown>, onprogress?: (progress: unknown) => void): Promise<unknown>;
  prompt(name: string, args?: Record<string, string>): Promise<unknown>;
  read(uri: string): Promise<unknown>;
  /** Has one other root from here on, and says so. */
  moveTo(uri: string): Promise<void>;
};

const self = { name: "sdk-test", version: "1" };
const capabilities = { elicitation: { form: {}, url: {} }, sampling: {}, roots: { listChanged: true } };

const filled: Readonly<Record<string, string | boolean>> = {
  username: "ada",
  email: "ada@example.org",
  name: "Ada",
  color: "green",
  context: "the context",
  ok: true,
};

/** Fills a form in: each property with what stands for it here. */
function fill(params: unknown): { action: "accept"; content: Record<string, string | boolean> } {
  const { requestedSchema } = params as { requestedSchema?: { properties?: Record<string, unknown> } };
  const names = Object.keys(requestedSchema?.properties ?? {});
  return {
    action: "accept",
    content: Object.fromEntries(names.flatMap((name) => (name in filled ? [[name, filled[name] ?? ""]] : []))),
  };
}

const sampled = { model: "none", role: "assistant", content: { type: "text", text: "Paris" } } as const;
const rootsAt = (uri: string) => ({ roots: [{ uri, name: "root" }] });
const usualRoot = "file:///srv/root";

const bearer = (key: string | undefined) =>
  key ? { requestInit: { headers: { Authorization: `Bearer ${key}` } } } : {};

/** Connects an official client that answers every question, over HTTP. */
export function connectAnswering(line: Line, url: string, key?: string, root = usualRoot): Promise<Answering> {
  return line === "1.x" ? answeringV1(url, key, root) : answeringV2(line, url, key, root);
}

async function answeringV1(url: string, key: string | undefined, root: string): Promise<Answering> {
  const asked: Asked[] = [];
  const logged: unknown[] = [];
  const client = new ClientV1(self, { capabilities });
  const heard = ({ method, params }: { method: string; params?: unknown }) => asked.push({ method, params });
  client.setRequestHandler(ElicitRequestSchema, (request) => {
    heard(request);
    return fill(request.params);
  });
  client.setRequestHandler(CreateMessageRequestSchema, (request) => {
    heard(request);
    return sampled;
  });
  client.setRequestHandler(ListRootsRequestSchema, (request) => {
    heard(request);
    return rootsAt(root);
  });
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logged.push(params.data));
  // The library's own transports miss its interface under exactOptionalPropertyTypes.
  await client.connect(new HttpV1(new URL(url), bearer(key)) as TransportV1);
  return {
    asked,
    logged,
    call: (name, args = {}, onprogress = () => {}) =>
      client.callTool({ name, arguments: args }, undefined, { onprogress }),
    prompt: (name, args = {}) => client.getPrompt({ name, arguments: args }),
    read: (uri) => client.readResource({ uri }),
    list: () => client.listTools(),
    moveTo(uri) {
      root = uri;
      return client.sendRootsListChanged();
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

async function answeringV2(line: Line, url: string, key: string | undefined, root: string): Promise<Answering> {
  const asked: Asked[] = [];
  const logged: unknown[] = [];
  const mode = line === "2.x modern" ? "auto" : "legacy";
  const client = new ClientV2(self, { capabilities, versionNegotiation: { mode } });
  const heard = ({ method, params }: { method: string; params?: unknown }) => asked.push({ method, params });
  client.setRequestHandler("elicitation/create", (request) => {
    heard(request);
    return fill(request.params);
  });
  client.setRequestHandler("sampling/createMessage", (request) => {
    heard(request);
    return sampled;
  });
  client.setRequestHandler("roots/list", (request) => {
    heard(request);
    return rootsAt(root);
  });
  client.setNotificationHandler("notifications/message", ({ params }) => void logged.push(params.data));
  await client.connect(new HttpV2(new URL(url), bearer(key)));
  return {
    asked,
    logged,
    call: (name, args = {}, onprogress = () => {}) => client.callTool({ name, arguments: args }, { onprogress }),
    prompt: (name, args = {}) => client.getPrompt({ name, arguments: args }),
    read: (uri) => client.readResource({ uri }),
    list: () => client.listTools(),
    moveTo(uri) {
      root = uri;
      return client.sendRootsListChanged();
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}
