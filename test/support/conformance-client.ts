import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from "@modelcontextprotocol/client";
import { everything, start } from "./daemon.ts";

// mcpgw as the client that the conformance suite looks at: a gateway of its own in front of the suite's server, used by
// an official client as a user would.

/** One scenario, as the suite tells its client. */
export type Job = {
  readonly url: string;
  readonly scenario: string;
  readonly revision: string;
  /** What the scenario hands its client besides, as JSON. */
  readonly context: string | null;
};

type Members = Readonly<Record<string, unknown>>;
type Tool = { readonly name: string; readonly inputSchema: Members };

/** What both lines of the official client have in common. */
type Client = {
  getServerCapabilities(): Members | undefined;
  listTools(): Promise<{ tools: readonly unknown[] }>;
  callTool(params: { name: string; arguments: Record<string, unknown> }): Promise<unknown>;
  listPrompts(): Promise<{ prompts: readonly { name: string }[] }>;
  getPrompt(params: { name: string }): Promise<unknown>;
  listResources(): Promise<{ resources: readonly { uri: string }[] }>;
  readResource(params: { uri: string }): Promise<unknown>;
  close(): Promise<void>;
};

/** Takes jobs from the commands that the suite starts all at once, and works on few of them at a time. */
export function openDesk(places = 2): AsyncDisposable & { readonly url: string } {
  const waiting: (() => void)[] = [];
  let free = places;
  const desk = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      const job = (await request.json()) as Job; // from the fixture's driver.ts
      if (free > 0) free--;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        await drive(job);
        return new Response();
      } catch (error) {
        return new Response(String(error), { status: 500 });
      } finally {
        const next = waiting.shift();
        if (next) next();
        else free++;
      }
    },
  });
  return { url: desk.url.href, [Symbol.asyncDispose]: () => desk.stop(true) };
}

/** Runs one scenario to its end; rejects only where not even the gateway could be reached. */
export async function drive({ url, scenario, revision, context }: Job): Promise<void> {
  // The suite's servers of the newer era know neither the older handshake nor `server/discover`.
  const protocol = revision === "2026-07-28" ? "modern" : "auto";
  await using daemon = await start({
    auth: { type: "none", roles: ["user"] },
    gateway: { tools: "off" },
    // Far more than any scenario takes that goes well.
    servers: [{ id: "suite", url, prefix: "none", timeout: "5s", protocol }],
    policies: [everything()],
  });
  // The newer library drops tools whose header annotations are wrong, which is what the gateway has to do here.
  const older = revision !== "2026-07-28" || scenario === "http-invalid-tool-headers";
  const client = await (older ? connectV1 : connectV2)(`${daemon.url}/mcp`);
  try {
    await use(client, context);
  } finally {
    await client.close();
  }
}

const self = { name: "conformance-client", version: "1" };
const capabilities = { sampling: {}, elicitation: { form: { applyDefaults: true } }, roots: {} };

/** Accepts a form: says yes where it is asked, and leaves what has a default to the library. */
function fill(params: unknown) {
  const properties = (params as { requestedSchema?: { properties?: Record<string, Members> } }).requestedSchema
    ?.properties;
  const open = Object.entries(properties ?? {}).filter(([, schema]) => !("default" in schema));
  return { action: "accept" as const, content: Object.fromEntries(open.map(([key, schema]) => [key, sample(schema)])) };
}

const sampled = {
  role: "assistant" as const,
  model: "none",
  content: { type: "text" as const, text: "an answer" },
};
const roots = { roots: [{ uri: "file:///tmp", name: "tmp" }] };

async function connectV1(url: string): Promise<Client> {
  const client = new ClientV1(self, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => fill(params));
  client.setRequestHandler(CreateMessageRequestSchema, () => sampled);
  client.setRequestHandler(ListRootsRequestSchema, () => roots);
  // The library's own transports miss its interface under exactOptionalPropertyTypes.
  await client.connect(new HttpV1(new URL(url)) as TransportV1);
  return client;
}

async function connectV2(url: string): Promise<Client> {
  const client = new ClientV2(self, { capabilities, versionNegotiation: { mode: "auto" } });
  client.setRequestHandler("elicitation/create", ({ params }) => fill(params));
  client.setRequestHandler("sampling/createMessage", () => sampled);
  client.setRequestHandler("roots/list", () => roots);
  await client.connect(new HttpV2(new URL(url)));
  return client;
}

/** A value that a schema is likely to accept. */
function sample({ type }: Members): string | number | boolean {
  if (type === "boolean") return true;
  return type === "number" || type === "integer" ? 5 : "text";
}

function sampleObject({ properties, required }: Members): Record<string, unknown> {
  const schemas = (properties ?? {}) as Record<string, Members>;
  return Object.fromEntries(((required ?? []) as string[]).map((key) => [key, sample(schemas[key] ?? {})]));
}

/** What the suite wants to see a tool called with. */
function argumentsFor(tool: Tool, tools: readonly Tool[]): Record<string, unknown> {
  if (tool.name !== "json_schema_echo") return sampleObject(tool.inputSchema);
  return { schema: tools.find(({ name }) => name === "json_schema_2020_12_tool")?.inputSchema };
}

/** Does everything that the server offers once. What it refuses is the suite's to judge. */
async function use(client: Client, context: string | null): Promise<void> {
  const offered = client.getServerCapabilities() ?? {};
  const tools = (await client.listTools()).tools as readonly Tool[];
  const given = context === null ? {} : (JSON.parse(context) as { toolCalls?: Parameters<Client["callTool"]>[0][] });
  const calls = given.toolCalls ?? tools.map((tool) => ({ name: tool.name, arguments: argumentsFor(tool, tools) }));
  for (const call of calls) await client.callTool(call).catch(tell);
  if ("prompts" in offered) {
    for (const { name } of (await client.listPrompts()).prompts) await client.getPrompt({ name }).catch(tell);
  }
  if ("resources" in offered) {
    for (const { uri } of (await client.listResources()).resources) await client.readResource({ uri }).catch(tell);
  }
}

const tell = (error: unknown): void => console.error(String(error));
