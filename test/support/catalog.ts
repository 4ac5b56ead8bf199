import { type CatalogOptions, createCatalog } from "../../src/catalog/catalog.ts";
import { createHandedOut } from "../../src/catalog/handed-out.ts";
import type { ToolsetOptions } from "../../src/catalog/options.ts";
import { toolsetsOptions } from "../../src/catalog/options.ts";
import type { ClientSession, Item, Kind, Route, Tool, Viewpoint } from "../../src/core/call.ts";
import { type Era, noCapabilities } from "../../src/core/inbound.ts";
import type { Prefix } from "../../src/core/options.ts";
import type { Catalog, Policy } from "../../src/core/ports.ts";
import { emptyListing, type Listing } from "../../src/core/upstream.ts";
import type { ListName } from "../../src/core/lists.ts";
import type { Principal, Source } from "../../src/core/principal.ts";
import { policiesOptions } from "../../src/policy/options.ts";
import { createPolicy } from "../../src/policy/policy.ts";
import { createSealer } from "../../src/seal/seal.ts";
import { loopback, makeCall, makeTool } from "./call.ts";
import { principal, stillClock } from "./principal.ts";

export const clock = stillClock();
const keys = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;
const sealer = createSealer(keys, clock);

/** Role admin may call everything, role reader only names that begin with get. */
export const usual = createPolicy({
  rules: [],
  policies: policiesOptions.parse([
    { id: "admin", roles: ["admin"], rules: [{ action: "allow" }, { server: "mcpgw", action: "allow" }] },
    { id: "reader", roles: ["reader"], rules: [{ tool: "get*", action: "allow" }] },
  ]),
});
export const admin = principal("key:admin", ["admin"]);

/** What a server offers in a test: each name stands for a minimal definition. */
export type Served = {
  readonly prefix?: Prefix;
  readonly enabled?: boolean;
  readonly tools?: readonly (string | Tool)[];
  readonly prompts?: readonly (string | Item)[];
  readonly resources?: readonly (string | Item)[];
  readonly templates?: readonly string[];
} & Partial<Omit<Listing, "server" | "tools" | "prompts" | "resources" | "resourceTemplates">>;

const item = (key: string) => (name: string | Item) =>
  typeof name === "string" ? { name, text: JSON.stringify({ [key]: name }) } : name;

export type BuildOptions = {
  readonly max?: number;
  readonly page?: number;
  readonly policy?: Policy;
  readonly toolsets?: readonly Partial<ToolsetOptions>[];
  readonly previous?: Catalog;
  readonly handedOut?: CatalogOptions["handedOut"];
  readonly callerTools?: CatalogOptions["callerTools"];
  /** Servers with listings that are not configured. */
  readonly unconfigured?: readonly string[];
  /** Called for servers whose lists cause an error; by default the test fails. */
  readonly failed?: (server: string, error: unknown) => void;
};

const raise = (_server: string, error: unknown): never => {
  throw error;
};

/** Returns the viewpoint of a legacy client of this principal without a session or capabilities. */
export const partyOf = (who: Principal, scope: string | null = null): Viewpoint => ({
  who,
  source: loopback,
  scope,
  session: null,
  capabilities: noCapabilities,
  inbound: { era: "legacy" },
});

/** Returns what a caller gets when it asks for a list. */
export function ask(
  catalog: Catalog,
  list: ListName,
  { who = admin, source = loopback, era = "modern", scope = null, session = null, cursor }: Asked = {},
): { names: string[]; text: string; nextCursor?: string; omitted?: unknown } {
  const call = makeCall({ method: "list", source, scope, session });
  const inbound = { ...call.inbound, era, params: cursor === undefined ? {} : { cursor } };
  const text = catalog.list(Object.assign(call, { inbound, who }), list);
  const result = JSON.parse(text);
  const names = result[list].map((each: Record<string, string>) => each["name"] ?? each["uri"] ?? each["uriTemplate"]);
  return { names, text, nextCursor: result.nextCursor, omitted: result._meta?.["mcpgw.dev/omitted"] };
}

type Asked = {
  who?: Principal;
  source?: Source;
  era?: Era;
  scope?: string | null;
  session?: ClientSession | null;
  cursor?: unknown;
};

/** Returns the target to which a call of this kind is routed. */
export function lead(
  catalog: Catalog,
  kind: Kind,
  name: unknown,
  {
    who = admin,
    scope = null,
    session = null,
    method = methods[kind],
  }: { who?: Principal; scope?: string | null; session?: ClientSession | null; method?: string } = {},
): Route {
  return catalog.resolve(Object.assign(makeCall({ method, scope, session }), { who }), kind, name);
}

const methods = { tool: "tools/call", prompt: "prompts/get", resource: "resources/read", extension: "x/y" } as const;

/** Returns a catalog of these servers, with the real policy and sealer. */
export function buildCatalog(served: Readonly<Record<string, Served>>, options: BuildOptions = {}): Catalog {
  const {
    max = 50,
    page = 1000,
    policy = usual,
    toolsets = [],
    previous = null,
    handedOut,
    unconfigured = [],
  } = options;
  const listings = Object.entries(served).map(([server, offered]): Listing => {
    const {
      prefix: _prefix,
      enabled: _enabled,
      tools = [],
      prompts = [],
      resources = [],
      templates = [],
      ...rest
    } = offered;
    return {
      ...emptyListing,
      ...rest,
      server,
      tools: tools.map((tool) => (typeof tool === "string" ? makeTool(tool) : tool)),
      prompts: prompts.map(item("name")),
      resources: resources.map(item("uri")),
      resourceTemplates: templates.map(item("uriTemplate")),
    };
  });
  return createCatalog({
    servers: Object.entries(served)
      .filter(([id]) => !unconfigured.includes(id))
      .map(([id, { prefix = "always", enabled = true }]) => ({ id, prefix, enabled })),
    toolsets: toolsetsOptions.parse(toolsets),
    listings,
    names: { max },
    page,
    policy,
    sealer,
    clock,
    callerTools: options.callerTools ?? (() => new Map()),
    handedOut: handedOut ?? createHandedOut(clock),
    failed: options.failed ?? raise,
    previous,
  });
}
