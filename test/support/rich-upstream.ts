import { locate } from "../../src/mcp/json-text.ts";

// A server whose every answer has unknown members and types, numbers that a parser would change, and escapes that a
// printer would change. It answers in raw text and keeps the requests it receives.

type Era = "legacy" | "modern";

/** Unknown members, spelled so that parsing and printing them would be visible. */
export const unknown = '"x-big":12345678901234567890,"x-dec":1.10,"x-esc":"\\u00e9\\/","x-nest":{ "a" : [ 1 , null ] }';

const icon = '{"src":"https://example.org/i.png","mimeType":"image/png","sizes":["48x48"],"theme":"dark"}';
const annotations = '{"audience":["user"],"priority":0.50,"lastModified":"2026-01-01T00:00:00Z","x-a":1e2}';

/** Content of every type that the protocol has, and of an unknown type. */
export const content = [
  `{"type":"text","text":"héllo\\u2028","annotations":${annotations},${unknown}}`,
  `{"type":"image","data":"iVBORw0KGgo=","mimeType":"image/png","_meta":{"example.org/k":1.0}}`,
  `{"type":"audio","data":"UklGRg==","mimeType":"audio/wav"}`,
  `{"type":"resource_link","uri":"rich://doc/1","name":"doc","icons":[${icon}],${unknown}}`,
  `{"type":"resource","resource":{"uri":"rich://doc/2","text":"t","mimeType":"text/plain",${unknown}}}`,
  `{"type":"hologram","voxels":[[1.0,2.50],[3e0,-0]],${unknown}}`,
].join(",");

const vendorMeta = '"example.org/kept":{"n":1.10},"com.acme/also":[true]';

/** The result of the tool `rich`; `structured` depends on what the era allows. */
const callResult = (structured: string): string =>
  `{"content":[${content}],"structuredContent":${structured},"_meta":{${vendorMeta}},${unknown}}`;

export const tool = (name: string, output: string): string =>
  `{"name":"${name}","title":"Rich","description":"d","inputSchema":{"type":"object","x-keep":1.10},` +
  `"outputSchema":${output},"annotations":{"readOnlyHint":true,"x-hint":2.0},"icons":[${icon}],` +
  `"_meta":{${vendorMeta}},${unknown}}`;

export const prompt = `{"name":"ask","title":"Ask","arguments":[{"name":"a","required":true,${unknown}}],"icons":[${icon}],${unknown}}`;
const resource = `{"uri":"rich://doc/1","name":"doc","size":12345678901234567890,"annotations":${annotations},"icons":[${icon}],${unknown}}`;
const template = `{"uriTemplate":"rich://doc/{id}","name":"docs",${unknown}}`;
export const promptResult = `{"description":"d","messages":[{"role":"user","content":{"type":"text","text":"x",${unknown}},${unknown}}],${unknown}}`;
const readResult = `{"contents":[{"uri":"rich://doc/1","text":"t",${unknown}}],${unknown}}`;

const capabilities = '{"tools":{},"prompts":{},"resources":{},"completions":{},"x-cap":{"n":1.10}}';

const arrays = '{"type":"array","items":{"type":"number"}}';
const objects = '{"type":"object","properties":{"n":{"type":"number"}}}';

/** Returns the raw result of a method in an era; null if there is none. */
function resultOf(era: Era, method: string): string | null {
  const complete = era === "modern" ? '"resultType":"complete",' : "";
  const cached = era === "modern" ? '"ttlMs":5000,"cacheScope":"public",' : "";
  const list = (name: string, items: string): string => `{${complete}${cached}"${name}":[${items}],${unknown}}`;
  const open = (result: string): string => `{${complete}${result.slice(1)}`;
  const results: Record<string, string> = {
    initialize: `{"protocolVersion":"2025-11-25","capabilities":${capabilities},"serverInfo":{"name":"rich","version":"1"}}`,
    "server/discover": `{${complete}${cached}"supportedVersions":["2026-07-28"],"capabilities":${capabilities}}`,
    "tools/list": list("tools", era === "modern" ? tool("rich", arrays) : tool("rich", objects)),
    "prompts/list": list("prompts", prompt),
    "resources/list": list("resources", resource),
    "resources/templates/list": list("resourceTemplates", template),
    "tools/call": open(callResult(era === "modern" ? "[1,2.50]" : '{"n":1.10}')),
    "prompts/get": open(promptResult),
    "resources/read": `{${complete}${cached}${readResult.slice(1)}`,
    "completion/complete": open(`{"completion":{"values":["a"],"total":1,"hasMore":false,${unknown}},${unknown}}`),
    ping: "{}",
  };
  return Object.hasOwn(results, method) ? (results[method] ?? null) : null;
}

/** Starts the server of one era; `sent(method)` returns the newest request of a method as it arrived. */
export function richUpstream(era: Era) {
  const heard: { method: string; text: string; headers: Headers }[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(req) {
      if (req.method !== "POST") return new Response(null, { status: 405 });
      const text = await req.text();
      const { method = "", id } = JSON.parse(text) as { method?: string; id?: unknown };
      heard.push({ method, text, headers: req.headers });
      if (id === undefined) return new Response(null, { status: 202 });
      const foreign = era === "legacy" ? method === "server/discover" : method === "initialize";
      const result = foreign ? null : resultOf(era, method);
      const head = `{"jsonrpc":"2.0","id":${JSON.stringify(id)},`;
      const body = result
        ? `${head}"result":${result}}`
        : `${head}"error":{"code":-32601,"message":"unknown","data":{${unknown}}}}`;
      return new Response(body, { status: foreign ? 400 : 200, headers: { "content-type": "application/json" } });
    },
  });
  return {
    url: `${server.url.href}mcp`,
    sent(method: string) {
      const last = heard.findLast((one) => one.method === method);
      const at = last ? locate(last.text, 0, "params") : null;
      return { params: last && at ? last.text.slice(...at) : "", headers: last?.headers ?? new Headers() };
    },
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}
