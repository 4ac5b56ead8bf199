import { afterAll, beforeAll, expect, test } from "bun:test";
import type { LeftOut } from "../../src/control/schemas.ts";
import { type Daemon, everything, start } from "../support/daemon.ts";
import { reply, serve } from "../support/mcp-server.ts";
import { connect, lines } from "../support/sdk.ts";

// A server with definitions that official clients reject: directly, each of them makes some client lose a whole list.

const icons = [{ src: "data:,", sizes: "48x48" }];
const tool = (name: string, more: Record<string, unknown>) => ({ name, inputSchema: { type: "object" }, ...more });
const output = (name: string, more: Record<string, unknown>) =>
  tool(name, { outputSchema: { type: "object", ...more } });
const odd = {
  tools: [
    tool("null", { description: null, title: null, annotations: { readOnlyHint: null }, _meta: null, execution: null }),
    tool("icons", { icons }),
    tool("input", { inputSchema: { type: "object", properties: { a: true, b: false } } }),
    output("boolean", { properties: { a: true } }),
    output("required", { required: null }),
    output("properties", { properties: [] }),
    output("reference", { properties: { a: { $ref: "#/nope" } } }),
    output("pattern", { properties: { a: { type: "string", pattern: "[" } } }),
    output("type", { properties: { a: { type: "any" } } }),
    output("id", { $id: "constructor" }),
    tool("list", { outputSchema: { type: "array" } }),
    tool("dialect", { outputSchema: { $schema: null } }),
  ],
  prompts: [
    { name: "null", arguments: null, description: null },
    { name: "arguments", arguments: [{ name: "a", description: null, required: "yes" }, { description: "b" }], icons },
  ],
  resources: [
    { uri: "odd://nameless" },
    { uri: "odd://null", name: "a", mimeType: null, description: null, size: null, title: null },
    {
      uri: "odd://notes",
      name: "b",
      annotations: { priority: 5, lastModified: "2025-01-01", audience: "user" },
      icons,
    },
  ],
  resourceTemplates: [
    { uriTemplate: "odd://nameless/{x}" },
    { uriTemplate: "odd://null/{x}", name: "a", mimeType: null, annotations: null },
  ],
};

const lists: Readonly<Record<string, object>> = {
  "tools/list": { tools: odd.tools },
  "prompts/list": { prompts: odd.prompts },
  "resources/list": { resources: odd.resources },
  "resources/templates/list": { resourceTemplates: odd.resourceTemplates },
};

const many = Array.from({ length: 103 }, (_, at) => tool(`t${at}`, { description: null }));

let server: ReturnType<typeof serve>;
let large: ReturnType<typeof serve>;
let daemon: Daemon;
let key = "";

beforeAll(async () => {
  server = serve(({ method, id }) => {
    const capabilities = { tools: {}, prompts: {}, resources: {}, extensions: { "com.acme/on": true } };
    const instructions = "cut off \ud83d";
    if (method === "initialize") return reply(id, { protocolVersion: "2025-11-25", capabilities, instructions });
    const list = lists[method ?? ""];
    return list ? reply(id, list) : null;
  });
  large = serve(({ method, id }) => {
    if (method === "initialize") return reply(id, { protocolVersion: "2025-11-25", capabilities: { tools: {} } });
    return method === "tools/list" ? reply(id, { tools: many }) : null;
  });
  daemon = await start({
    servers: [
      { id: "odd", url: server.url },
      { id: "many", url: large.url },
    ],
    policies: [everything()],
  });
  key = await daemon.place.key("agent");
}, 30_000);

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  server[Symbol.dispose]();
  large[Symbol.dispose]();
}, 30_000);

const names = (things: readonly Readonly<Record<string, unknown>>[], key: string): string[] =>
  things.map((thing) => String(thing[key])).toSorted();

test.each(lines)("a client of %s can read the lists of a server with odd definitions", async (line) => {
  await using peer = await connect(line, { url: `${daemon.url}/mcp`, key });
  const tools = names(await peer.tools(), "name").filter((name) => name.startsWith("odd__"));
  expect(tools).toEqual(names(odd.tools, "name").map((name) => `odd__${name}`));
  const prompts = await peer.prompts();
  expect(names(prompts, "name")).toEqual(["odd__arguments", "odd__null"]);
  expect(prompts.map((prompt) => prompt["arguments"])).toEqual([[{ name: "a" }], undefined]);
  expect(names(await peer.resources(), "uri")).toEqual(["odd://notes", "odd://null"]);
  expect(names(await peer.resourceTemplates(), "uriTemplate")).toEqual(["odd://null/{x}"]);
});

test("operators are shown which definitions were changed or omitted, and why", async () => {
  const { leftOut } = (await daemon.place.json("servers", "show", "odd")) as { leftOut: LeftOut };
  const reasons = new Map(leftOut.first.map(({ kind, name, reason }) => [`${kind} ${name}`, reason]));
  expect(reasons.get("tool odd:icons")).toBe("its icons[0].sizes is not a list of strings");
  expect(reasons.get("tool odd:null")).toStartWith("its description is not a string; its title is not a string; its a");
  expect(reasons.get("tool odd:reference")).toStartWith(
    "its outputSchema, which is hidden from clients before 2026-07-28",
  );
  expect(reasons.get("prompt odd:null")).toStartWith("its arguments is not a list of arguments");
  expect(reasons.get("resource odd:odd://null/{x}")).toStartWith("its mimeType is not a string");
  expect(reasons.has("tool odd:input")).toBe(false);
  expect(leftOut.more).toBe(0);
  const most = (await daemon.place.json("servers", "show", "many")) as { leftOut: LeftOut };
  expect([most.leftOut.first.length, most.leftOut.more]).toEqual([100, 3]);
  const { stdout } = await daemon.place.cli(["servers", "show", "odd"]);
  expect(stdout).toMatch(/^tool +odd:icons +its icons\[0\]\.sizes is not a list of strings$/m);
});

test("nothing that the gateway itself answers contains half of a surrogate pair", async () => {
  const { text } = await daemon.post(
    `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`,
    { key },
  );
  expect(JSON.parse(text).result.instructions).toEndWith("cut off \ufffd");
});
