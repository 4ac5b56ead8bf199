import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Daemon, everything, start } from "../support/daemon.ts";
import { membersOf, OddJson } from "../support/odd-json.ts";

// Seeded random conversations between raw clients and raw servers of both eras: what one side writes, the other side
// reads, except for documented changes.

type Era = "legacy" | "modern";
const eras = ["legacy", "modern"] as const;
/** What a server does in one conversation. */
type Script = { readonly draw: OddJson; readonly said: readonly string[]; readonly end: string };

const scripts = new Map<string, Script>();
const heard = new Map<string, string>();
const answer = (id: string, end: string): string => `{"jsonrpc":"2.0","id":${id},${end}}`;

/** Returns an event stream in any valid form: all line ends, comments, fields, several lines per message. */
function eventsOf(messages: readonly string[], draw: OddJson): string {
  const events = messages.map((message) => {
    const end = draw.one(["\n", "\r\n", "\r"]);
    const [data, rest] = draw.below(3) === 0 ? [message.slice(0, 1), `${end}data:${message.slice(1)}`] : [message, ""];
    const fields = draw.one(["", "event: message", ": comment", "event", "x: y", "retry: 10"]);
    return `${fields}${fields && end}data: ${data}${rest}${end}${end}`;
  });
  return draw.one(["", "\ufeff", ":\n\n"]) + events.join("");
}

function bodyOf({ draw, said, end }: Script, id: string): Response {
  const plain = said.length === 0 && draw.below(2) === 0;
  const last = answer(id, end);
  const text = plain ? last : eventsOf([...said.map((each) => each.replace("TOKEN", id)), last], draw);
  const bytes = new TextEncoder().encode(text);
  const type = plain ? "application/json; charset=utf-8" : draw.one(["text/event-stream", "Text/Event-Stream"]);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of draw.pieces(bytes)) controller.enqueue(piece);
      controller.close();
    },
  });
  return new Response(stream, { headers: { "content-type": type } });
}

const capabilities = '{"tools":{},"prompts":{},"resources":{}}';

function resultOf(era: Era, method: string): string {
  const name = `${era}-server`;
  const results: Record<string, string> = {
    initialize: `{"protocolVersion":"2025-11-25","capabilities":${capabilities},"serverInfo":{"name":"x","version":"1"}}`,
    "server/discover": `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":${capabilities}}`,
    "tools/list": '{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}',
    "prompts/list": '{"prompts":[{"name":"p"}]}',
    "resources/list": `{"resources":[{"uri":"${name}:r","name":"r"}]}`,
    "resources/templates/list": '{"resourceTemplates":[]}',
  };
  return results[method] ?? "{}";
}

const serve = (era: Era) =>
  Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      if (request.method !== "POST") return new Response(null, { status: 405 });
      const message = membersOf(await request.text());
      const [id, method, params] = [message.get("id"), String(JSON.parse(message.get("method") ?? "null")), "params"];
      if (id === undefined) return new Response(null, { status: 202 });
      const sent = membersOf(message.get(params) ?? "{}");
      const name = membersOf(sent.get("_meta") ?? "{}").get("case") ?? "";
      const script = scripts.get(name);
      if (script) heard.set(name, message.get(params) ?? "");
      return script ? bodyOf(script, id) : Response.json(JSON.parse(answer(id, `"result":${resultOf(era, method)}`)));
    },
  });

let servers: Record<Era, ReturnType<typeof serve>>;
let daemon: Daemon;
let key = "";
let session: Record<string, string> = {};

beforeAll(async () => {
  servers = { legacy: serve("legacy"), modern: serve("modern") };
  const all = eras.map((id) => ({ id, url: `${servers[id].url.href}mcp`, protocol: id, getStream: "off" }));
  daemon = await start({
    audit: { durability: "relaxed" },
    servers: all,
    policies: [everything()],
  });
  key = await daemon.place.key("agent");
  session = await daemon.session(key);
}, 30_000);

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await Promise.all(eras.map((era) => servers[era].stop(true)));
}, 30_000);

/** Returns an object's members without the white space that streams may add, and without the reserved `_meta`. */
function read(text: string | undefined, without: readonly string[] = []): Map<string, string> {
  const tokens = (text ?? "{}").replace(/("(?:[^"\\]|\\.)*")|\s+/gs, "$1");
  const found = membersOf(tokens);
  const meta = [...membersOf(found.get("_meta") ?? "{}")].filter(([name]) => !name.startsWith("io.modelcontext"));
  found.set("_meta", JSON.stringify(meta.filter(([name]) => name !== "progressToken")));
  for (const name of without) found.delete(name);
  return found;
}

const modernMeta = [
  '"io.modelcontextprotocol/protocolVersion":"2026-07-28"',
  '"io.modelcontextprotocol/clientCapabilities":{}',
  '"io.modelcontextprotocol/logLevel":"debug"',
];
const methods = [
  { method: "tools/call", named: "name", thing: (era: Era) => `${era}__t`, own: () => "t", result: '"content":' },
  { method: "prompts/get", named: "name", thing: (era: Era) => `${era}__p`, own: () => "p", result: '"messages":' },
  {
    method: "resources/read",
    named: "uri",
    thing: (era: Era) => `${era}-server:r`,
    own: (era: Era) => `${era}-server:r`,
    result: '"contents":',
  },
] as const;

/** Returns the data of an event as the gateway writes it. */
const dataOf = (event: string): string =>
  event
    .split("\n")
    .flatMap((line) => (line.startsWith("data: ") ? line.slice(6) : []))
    .join("\n");

async function converse(seed: number): Promise<void> {
  const draw = new OddJson(seed);
  const [client, server] = [draw.one(eras), draw.one(eras)];
  const { method, named, thing, own, result } = draw.one(methods);
  const name = `${seed}`;
  const asked = draw.object([
    `"${named}":"${thing(server)}"`,
    `"arguments":${draw.object([])}`,
    `"_meta":${draw.object([`"case":${name}`, '"progressToken":"p"', ...(client === "modern" ? modernMeta : [])])}`,
  ]);
  const params = draw.object([`"progress":1`]).slice(0, -1);
  const progress = `{"jsonrpc":"2.0","method":"notifications/progress","params":${params},"progressToken":TOKEN}}`;
  const said = draw.one([[], [progress]]);
  const error = draw.object(['"code":5', `"message":${draw.string()}`, `"data":${draw.value()}`]);
  const content = `[${draw.object([`"type":${draw.string()}`])}]`;
  const given = draw.object([`${result}${content}`, `"_meta":${draw.object([])}`]);
  const fails = draw.below(5) === 0;
  scripts.set(name, { draw, said, end: fails ? `"error":${error}` : `"result":${given}` });

  const id = draw.one(["7", '"\\u00e9😀"', "12345678901234567890", '""', "-1"]);
  const body = `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${asked}}`;
  const modern = { "mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": thing(server) };
  const { text, headers } = await daemon.post(body, { key, headers: client === "modern" ? modern : session });

  const streamed = headers.get("content-type") === "text/event-stream";
  const got = (streamed ? text.split("\n\n").map(dataOf) : [text]).filter(Boolean).map(membersOf);
  expect(got).toHaveLength(said.length + 1);
  const told = got.slice(0, -1).map((one) => read(one.get("params")));
  expect(told).toEqual(said.map(() => read(`${params},"progressToken":"p"}`)));
  const last = got.at(-1);
  expect(last?.get("id")).toBe(id);
  if (fails) expect(read(last?.get("error"))).toEqual(read(error));
  else expect(read(last?.get("result"), ["resultType", "ttlMs", "cacheScope"])).toEqual(read(given));
  expect(read(heard.get(name)).set(named, "")).toEqual(read(asked).set(named, ""));
  expect(membersOf(heard.get(name) ?? "{}").get(named)).toBe(JSON.stringify(own(server)));
}

test("R117 FIELD T4: odd conversations pass unchanged, and each leaves one begin and one end record", async () => {
  const seeds = Array.from({ length: 100 }, (_, at) => at + 1);
  const lane = async (first: number): Promise<void> => {
    for (const seed of seeds.slice(first).filter((_, at) => at % 8 === 0))
      await converse(seed).catch((cause: unknown) => Promise.reject(new Error(`seed ${seed}`, { cause })));
  };
  await Promise.all(Array.from({ length: 8 }, (_, first) => lane(first)));
  const records = await daemon.place.records();
  const calls = Map.groupBy(records, ({ call }) => call);
  calls.delete(undefined);
  const kinds = [...calls.values()].map((all) => all.map(({ type }) => type).join(" "));
  expect(new Set(kinds)).toEqual(new Set(["call.begin call.end"]));
  expect(kinds).toHaveLength(seeds.length);
  expect((await daemon.place.cli(["audit", "verify"])).code).toBe(0);
}, 120_000);
