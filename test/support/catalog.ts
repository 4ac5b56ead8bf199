import { createHandedOut } from "../../src/catalog/handed-out.ts";
import { type CatalogInit, createCatalog } from "../../src/catalog/index.ts";
import type { ToolsetOptions } from "../../src/catalog/options.ts";
import { toolsetsOptions } from "../../src/catalog/options.ts";
import type { Item, Tool } from "../../src/core/call.ts";
import type { Prefix } from "../../src/core/options.ts";
import { type Catalog, emptyListing, type Listing, type Policy } from "../../src/core/ports.ts";
import { createPolicy } from "../../src/policy/index.ts";
import { policiesOptions } from "../../src/policy/options.ts";
import { createSealer } from "../../src/session/seal.ts";
import { createValidator } from "../../src/validate/index.ts";
import { makeTool } from "./call.ts";
import { principal, stillClock } from "./principal.ts";

export const clock = stillClock();
const validator = createValidator({ clock, warn: () => {} });
const keys = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;
const sealer = createSealer(() => keys, clock);

/** Admin may everything, reader what begins with get. */
export const usual = createPolicy({
  rules: [],
  policies: policiesOptions.parse([
    { id: "admin", roles: ["admin"], rules: [{ action: "allow" }, { server: "mcpgw", action: "allow" }] },
    { id: "reader", roles: ["reader"], rules: [{ tool: "get*", action: "allow" }] },
  ]),
});
export const admin = principal("key:admin", ["admin"]);

/** What a server offers in a test: names stand for definitions that say nothing else. */
export type Served = {
  readonly prefix?: Prefix;
  readonly enabled?: boolean;
  readonly tools?: readonly (string | Tool)[];
  readonly prompts?: readonly string[];
  readonly resources?: readonly (string | Item)[];
  readonly templates?: readonly string[];
} & Partial<Omit<Listing, "server" | "tools" | "prompts" | "resources" | "templates">>;

const item = (key: string) => (name: string | Item) =>
  typeof name === "string" ? { name, text: JSON.stringify({ [key]: name }) } : name;

export type BuildOptions = {
  readonly max?: number;
  readonly page?: number;
  readonly policy?: Policy;
  readonly toolsets?: readonly Partial<ToolsetOptions>[];
  readonly previous?: Catalog;
  readonly handedOut?: CatalogInit["handedOut"];
};

/** A catalog of these servers, over the real policy, validator and sealer. */
export function buildCatalog(served: Readonly<Record<string, Served>>, options: BuildOptions = {}): Catalog {
  const { max = 50, page = 1000, policy = usual, toolsets = [], previous, handedOut } = options;
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
      templates: templates.map(item("uriTemplate")),
    };
  });
  return createCatalog({
    servers: Object.entries(served).map(([id, { prefix = "always", enabled = true }]) => ({ id, prefix, enabled })),
    toolsets: toolsetsOptions.parse(toolsets),
    listings,
    names: { max },
    page,
    policy,
    validator,
    sealer,
    clock,
    handedOut: handedOut ?? createHandedOut(clock),
    previous,
  });
}
