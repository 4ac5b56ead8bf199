import { everything, start } from "./daemon.ts";
import { connect, type Listed, type Members, type Part, type Peer } from "./sdk.ts";

// mcpgw as the client that the conformance suite tests: a gateway in front of the suite's server, used by an official
// client as a user would use it.

/** One scenario, as the suite describes it to its client. */
export type Job = {
  readonly url: string;
  readonly scenario: string;
  readonly revision: string;
  /** Additional input of the scenario for its client, as JSON. */
  readonly context: string | null;
};

type ToolCall = { readonly name: string; readonly arguments: Record<string, unknown> };
type Tool = Listed & { readonly inputSchema: Members };

/** Accepts jobs from the commands that the suite starts all at once, and runs at most `places` of them at a time. */
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

/** Runs one scenario to its end; rejects only if the gateway itself could not be reached. */
export async function drive({ url, scenario, revision, context }: Job): Promise<void> {
  // The suite's servers of the newer era support neither the older handshake nor `server/discover`.
  const protocol = revision === "2026-07-28" ? "modern" : "auto";
  await using daemon = await start({
    auth: { type: "none", roles: ["user"] },
    gateway: { tools: "off" },
    // Far more than any successful scenario takes.
    servers: [{ id: "suite", url, prefix: "none", timeout: "5s", protocol }],
    policies: [everything()],
  });
  // The newer library drops tools with wrong header annotations, which is what the gateway has to do here.
  const older = revision !== "2026-07-28" || scenario === "http-invalid-tool-headers";
  await using peer = await connect(older ? "1.x" : "2.x modern", { url: `${daemon.url}/mcp` }, part);
  await use(peer, context);
}

/** Accepts a form with sample values, and leaves properties with defaults to the library. */
function fill(params: unknown) {
  const properties = (params as { requestedSchema?: { properties?: Record<string, Members> } }).requestedSchema
    ?.properties;
  const open = Object.entries(properties ?? {}).filter(([, schema]) => !("default" in schema));
  return { action: "accept", content: Object.fromEntries(open.map(([key, schema]) => [key, sample(schema)])) };
}

const part: Part = {
  capabilities: { sampling: {}, elicitation: { form: { applyDefaults: true } }, roots: {} },
  answer(method, params) {
    if (method === "elicitation/create") return fill(params);
    if (method === "roots/list") return { roots: [{ uri: "file:///tmp", name: "tmp" }] };
    return { role: "assistant", model: "none", content: { type: "text", text: "an answer" } };
  },
};

/** Returns a value that a schema is likely to accept. */
function sample({ type }: Members): string | number | boolean {
  if (type === "boolean") return true;
  return type === "number" || type === "integer" ? 5 : "text";
}

function sampleObject({ properties, required }: Members): Record<string, unknown> {
  const schemas = (properties ?? {}) as Record<string, Members>;
  return Object.fromEntries(((required ?? []) as string[]).map((key) => [key, sample(schemas[key] ?? {})]));
}

/** Returns the arguments with which the suite expects a tool to be called. */
function argumentsFor(tool: Tool, tools: readonly Tool[]): Record<string, unknown> {
  if (tool.name !== "json_schema_echo") return sampleObject(tool.inputSchema);
  return { schema: tools.find(({ name }) => name === "json_schema_2020_12_tool")?.inputSchema };
}

/** Uses everything that the server offers once; the suite judges what is refused. */
async function use(peer: Peer, context: string | null): Promise<void> {
  const tools = (await peer.tools()) as Tool[]; // every tool has a schema
  const given = context === null ? {} : (JSON.parse(context) as { toolCalls?: ToolCall[] });
  const calls = given.toolCalls ?? tools.map((tool) => ({ name: tool.name, arguments: argumentsFor(tool, tools) }));
  for (const call of calls) await peer.call(call.name, call.arguments).catch(tell);
  if ("prompts" in peer.offered) for (const { name } of await peer.prompts()) await peer.prompt(name).catch(tell);
  if ("resources" in peer.offered) {
    for (const { uri } of await peer.resources()) await peer.read(String(uri)).catch(tell);
  }
}

const tell = (error: unknown): void => console.error(String(error));
