import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Daemon, everything, start } from "../support/daemon.ts";
import * as rich from "../support/rich-upstream.ts";

// Text passes through the gateway unchanged, except for documented changes: names, reserved `_meta`, and members that
// only one era has. It is compared as text, since a parser would hide the changes that parsers make.

type Upstream = ReturnType<typeof rich.richUpstream>;

let upstreams: Record<"legacy" | "modern", Upstream>;
let daemon: Daemon;
let key = "";
let session: Record<string, string> = {};

beforeAll(async () => {
  upstreams = { legacy: rich.richUpstream("legacy"), modern: rich.richUpstream("modern") };
  daemon = await start({
    servers: [
      { id: "old", url: upstreams.legacy.url },
      { id: "neo", url: upstreams.modern.url },
    ],
    policies: [everything()],
  });
  key = await daemon.place.key("agent");
  session = await daemon.session(key);
}, 30_000);

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await Promise.all(Object.values(upstreams).map((one) => one[Symbol.asyncDispose]()));
}, 30_000);

const modernMeta =
  '"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}';

/** Keys of `_meta` that belong to no hop; the keys of W3C Trace Context have no prefix. */
const trace = `"com.acme/trace":1.10,"traceparent":"00-${"a".repeat(32)}-${"b".repeat(16)}-01","tracestate":"a=1,b=2","baggage":"k=v;p"`;

/** Asks as a client of an era, in raw text; yields the raw text of the result. */
async function ask(era: "legacy" | "modern", method: string, members: string, name?: string): Promise<string> {
  const meta = `"_meta":{${trace}${era === "modern" ? `,${modernMeta}` : ""}}`;
  const body = `{"jsonrpc":"2.0","id":1,"method":"${method}","params":{${members}${members && ","}${meta}}}`;
  const headers =
    era === "legacy"
      ? session
      : {
          "mcp-protocol-version": "2026-07-28",
          "mcp-method": method,
          ...(name !== undefined && { "mcp-name": name }),
        };
  const { text } = await daemon.post(body, { key, headers });
  const head = '{"jsonrpc":"2.0","id":1,"result":';
  expect(text).toStartWith(head);
  return text.slice(head.length, -1);
}

const eras = ["legacy", "modern"] as const;
const servers = { old: "legacy", neo: "modern" } as const;
const cells = eras.flatMap((client) => (["old", "neo"] as const).map((server) => [client, server] as const));

describe.each(cells)("a %s client and the server %s", (client, server) => {
  const upstream = (): Upstream => upstreams[servers[server]];

  test("definitions pass unchanged, except for their names", async () => {
    const tools = await ask(client, "tools/list", "");
    const output = servers[server] === "legacy" ? '{"type":"object","properties":{"n":{"type":"number"}}}' : null;
    const array = '{"type":"array","items":{"type":"number"}}';
    const whole = rich.tool(`${server}__rich`, output ?? array);
    // Before 2026-07-28 structured content was an object, and clients refuse a list with another schema.
    expect(tools).toContain(
      output === null && client === "legacy" ? whole.replace(`"outputSchema":${array},`, "") : whole,
    );
    expect(await ask(client, "prompts/list", "")).toContain(rich.prompt.replace('"ask"', `"${server}__ask"`));
  });

  test("R117 FIELD T4 T67: arguments, vendor members and the trace reach the server as they were written", async () => {
    const args = '{ "n":12345678901234567890, "d":1.10,"s":"\\u00e9\\/" ,"a":[ ] }';
    await ask(client, "tools/call", `"name":"${server}__rich","arguments":${args},"x-more":1.10`, `${server}__rich`);
    const { params, headers } = upstream().sent("tools/call");
    expect(params).toContain(`"arguments":${args}`);
    expect(params).toContain('"x-more":1.10');
    expect(params).toContain(trace);
    expect(params).toContain('"name":"rich"');
    // Nothing that belongs to the caller's hop is forwarded.
    expect(headers.get("mcp-session-id")).toBeNull();
    expect(headers.get("authorization")).toBeNull();
    expect(headers.get("mcp-name")).toBe(servers[server] === "modern" ? "rich" : null);
  });

  test("null arguments mean no arguments, and reach the server as null", async () => {
    await ask(client, "tools/call", `"name":"${server}__rich","arguments":null`, `${server}__rich`);
    expect(upstream().sent("tools/call").params).toContain('"arguments":null');
  });

  test("results pass unchanged, except for what only one era has", async () => {
    const called = await ask(client, "tools/call", `"name":"${server}__rich","arguments":{}`, `${server}__rich`);
    // Both servers have a resource with this URI, so a link names its server.
    const content = rich.content.replaceAll('"rich://', `"mcpgw+${server}:rich://`);
    expect(called).toContain(`"content":[${content}]`);
    expect(called).toContain(rich.unknown);
    expect(called).toContain('"example.org/kept":{"n":1.10},"com.acme/also":[true]');
    const array = servers[server] === "modern";
    const structured = array ? '"structuredContent":[1,2.50]' : '"structuredContent":{"n":1.10}';
    expect(called.includes(structured)).toBe(!array || client === "modern");
    for (const member of ["resultType", "serverInfo"]) expect(called.includes(member)).toBe(client === "modern");

    const got = await ask(client, "prompts/get", `"name":"${server}__ask","arguments":{"a":"1"}`, `${server}__ask`);
    expect(got).toContain(rich.promptResult.slice(1, -1));
  });
});

describe.each(eras)("a %s client and names that two servers share", (client) => {
  test("FIELD T13: each resource has its own address, and is read where it was listed", async () => {
    const listed = JSON.parse(await ask(client, "resources/list", "")) as { resources: { uri: string }[] };
    const uris = listed.resources.map(({ uri }) => uri);
    expect(new Set(uris).size).toBe(2);
    for (const uri of uris) {
      const read = await ask(client, "resources/read", `"uri":${JSON.stringify(uri)}`, uri);
      expect(read).toContain(rich.unknown);
      expect(read).toContain(JSON.stringify(uri));
      expect(read.includes("cacheScope")).toBe(client === "modern");
      expect(read).not.toContain('"public"');
    }
  });

  test("S06: content labelled public becomes private to the caller whose rights gave access to it", async () => {
    for (const method of ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]) {
      const list = await ask(client, method, "");
      expect(list).not.toContain('"public"');
      expect(list.includes('"cacheScope":"private"')).toBe(client === "modern");
    }
  });
});
