import { describe, expect, test } from "bun:test";
import type { FailureCode } from "../../src/core/failure.ts";
import { weightOf } from "../../src/core/inbound.ts";
import { readInbound, type WireContext } from "../../src/mcp/classify.ts";
import { encodeHeader } from "../../src/mcp/headers.ts";
import { paramText } from "../../src/mcp/message.ts";
import { clientCapabilitiesKey, clientInfoKey, logLevelKey, protocolVersionKey } from "../../src/mcp/meta.ts";
import { expectFailure, limits } from "./support.ts";

const envelope = { [protocolVersionKey]: "2026-07-28", [clientCapabilitiesKey]: {} };

type Parts = { method?: string; params?: Record<string, unknown>; meta?: unknown; id?: number | null };

function body({ method = "tools/list", params = {}, meta, id = 1 }: Parts): string {
  const all = meta === undefined ? params : { ...params, _meta: meta };
  return JSON.stringify({ jsonrpc: "2.0", ...(id !== null && { id }), method, params: all });
}

const http = (headers: Record<string, string> = {}, revision: WireContext["revision"] = null): WireContext => ({
  headers: new Headers(headers),
  pinned: null,
  revision,
});
const stdio = (pinned: WireContext["pinned"], revision: WireContext["revision"] = null): WireContext => ({
  headers: null,
  pinned,
  revision,
});
const version = (value: string) => ({ "MCP-Protocol-Version": value });
const modern = (method: string, more: Record<string, string> = {}): WireContext =>
  http({ ...version("2026-07-28"), "Mcp-Method": method, ...more });

const read = (text: string, ctx: WireContext) => readInbound(text, limits, ctx);
/** A modern `tools/list` request with `more` in its envelope. */
const listing = (more: Record<string, unknown> = {}) => body({ meta: { ...envelope, ...more } });
const call = (meta?: unknown) => body({ method: "tools/call", params: { name: "a__b", arguments: { x: 1 } }, meta });

describe("era and revision", () => {
  const handshake = body({ method: "initialize" });
  const told = (method: string) => body({ id: null, method: `notifications/${method}` });
  const discover = body({ method: "server/discover", meta: envelope });
  const half = body({ method: "initialize", meta: { [protocolVersionKey]: "2026-07-28" } });
  const cases: [what: string, text: string, ctx: WireContext, era: string, revision: string | null][] = [
    ["initialize on HTTP", handshake, http(), "legacy", null],
    ["initialize with a legacy header", handshake, http(version("2025-06-18")), "legacy", null],
    ["initialize claiming half an envelope", half, http(), "legacy", null],
    ["no header, no session", body({}), http(), "legacy", "2025-03-26"],
    ["no header, a session", body({}), http({}, "2025-11-25"), "legacy", "2025-11-25"],
    ["legacy header", body({}), http(version("2025-06-18")), "legacy", "2025-06-18"],
    ["legacy header, a session", body({}), http(version("2025-06-18"), "2025-11-25"), "legacy", "2025-11-25"],
    ["oldest revision", body({}), http(version("2024-11-05")), "legacy", "2024-11-05"],
    ["claim on HTTP", listing(), modern("tools/list"), "modern", "2026-07-28"],
    ["discover on HTTP", discover, modern("server/discover"), "modern", "2026-07-28"],
    ["notification with a modern header", told("cancelled"), http(version("2026-07-28")), "modern", "2026-07-28"],
    ["notification without header", told("initialized"), http(), "legacy", "2025-03-26"],
    ["response", '{"jsonrpc":"2.0","id":1,"result":{}}', http({}, "2025-11-25"), "legacy", "2025-11-25"],
    ["stdio initialize", handshake, stdio(null), "legacy", null],
    ["stdio opening with a claim", listing(), stdio(null), "modern", "2026-07-28"],
    ["stdio opening without", body({}), stdio(null), "legacy", null],
    ["stdio, legacy stays legacy", listing(), stdio("legacy", "2025-06-18"), "legacy", "2025-06-18"],
    ["stdio, modern notification", told("cancelled"), stdio("modern"), "modern", "2026-07-28"],
    ["stdio, modern request", listing(), stdio("modern"), "modern", "2026-07-28"],
  ];
  test.each(cases)("%s", (_what, text, ctx, era, revision) => {
    expect(read(text, ctx)).toMatchObject({ era, revision, text });
  });
});

describe("S02: the checks, in order", () => {
  const future = "2099-01-01";
  const noCapabilities = { [clientCapabilitiesKey]: 7 };
  const request = (method: string, params: Record<string, unknown> = {}) => body({ method, params, meta: envelope });
  const response = '{"jsonrpc":"2.0","id":1,"result":{}}';
  const large = { experimental: { x: "x".repeat(20_000) } };
  const ladder: [what: string, text: string, ctx: WireContext, code: FailureCode][] = [
    ["JSON before everything", `${listing(noCapabilities)}]`, http(), "parse-error"],
    ["shape before era", '{"jsonrpc":"2.0","id":1.5,"method":"x"}', modern("y"), "invalid-request"],
    ["a batch", `[${listing()}]`, modern("tools/list"), "invalid-request"],
    ["a posted response of the modern era", response, modern("x"), "invalid-request"],
    ["a stdio response of the modern era", response, stdio("modern"), "invalid-request"],
    ["a claim that is not a string", listing({ [protocolVersionKey]: 3 }), http(version("x")), "bad-envelope"],
    ["modern header, no claim", body({}), modern("tools/list"), "bad-envelope"],
    ["modern header, no claim, a session", body({}), http(version("2026-07-28"), "2025-11-25"), "bad-envelope"],
    ["modern header, initialize", body({ method: "initialize" }), modern("initialize"), "header-mismatch"],
    ["version header before envelope", listing(noCapabilities), http(version("2025-11-25")), "header-mismatch"],
    ["version header sent twice", listing(), http(version("2026-07-28, 2026-07-28")), "header-mismatch"],
    [
      "envelope before revision",
      listing({ [protocolVersionKey]: future, [clientCapabilitiesKey]: null }),
      http(),
      "bad-envelope",
    ],
    ["no capabilities", listing({ [clientCapabilitiesKey]: undefined }), modern("tools/list"), "bad-envelope"],
    ["capabilities as array", listing({ [clientCapabilitiesKey]: [] }), modern("tools/list"), "bad-envelope"],
    ["clientInfo without version", listing({ [clientInfoKey]: { name: "x" } }), modern("tools/list"), "bad-envelope"],
    ["fractional progress token", listing({ progressToken: 1.5 }), modern("tools/list"), "bad-envelope"],
    [
      "revision before headers",
      listing({ [protocolVersionKey]: future }),
      http(version(future)),
      "unsupported-version",
    ],
    [
      "a legacy revision in a modern envelope",
      listing({ [protocolVersionKey]: "2025-11-25" }),
      http(version("2025-11-25")),
      "unsupported-version",
    ],
    ["version header missing", listing(), http({ "Mcp-Method": "tools/list" }), "header-mismatch"],
    ["Mcp-Method missing", listing(), http(version("2026-07-28")), "header-mismatch"],
    ["Mcp-Method in other case", listing(), modern("Tools/List"), "header-mismatch"],
    ["Mcp-Method sent twice", listing(), modern("tools/list, tools/list"), "header-mismatch"],
    ["Mcp-Name missing", call(envelope), modern("tools/call"), "header-mismatch"],
    ["Mcp-Name of another tool", call(envelope), modern("tools/call", { "Mcp-Name": "a__c" }), "header-mismatch"],
    ["Mcp-Name sent twice", call(envelope), modern("tools/call", { "Mcp-Name": "a__b, a__b" }), "header-mismatch"],
    [
      "Mcp-Name as bad sentinel",
      call(envelope),
      modern("tools/call", { "Mcp-Name": "=?base64?YV9fYg?=" }),
      "header-mismatch",
    ],
    ["Mcp-Name of a resource", request("resources/read", { uri: "a:b" }), modern("resources/read"), "header-mismatch"],
    [
      "Mcp-Name of a prompt",
      request("prompts/get", { name: "p" }),
      modern("prompts/get", { "Mcp-Name": "q" }),
      "header-mismatch",
    ],
    [
      "Mcp-Name of another resource",
      request("resources/read", { uri: "file:///ü" }),
      modern("resources/read", { "Mcp-Name": encodeHeader("file:///u") }),
      "header-mismatch",
    ],
    ...["tasks/get", "tasks/update", "tasks/cancel"].map((method): [string, string, WireContext, FailureCode] => [
      `Mcp-Name of ${method}`,
      request(method, { taskId: "t" }),
      modern(method),
      "header-mismatch",
    ]),
    ["headers before an unknown level", listing({ [logLevelKey]: "loud" }), modern("x"), "header-mismatch"],
    ["an unknown level", listing({ [logLevelKey]: "loud" }), modern("tools/list"), "invalid-params"],
    ["a level that is not a string", listing({ [logLevelKey]: 3 }), modern("tools/list"), "invalid-params"],
    [
      "legacy: more capabilities than a session keeps",
      body({ method: "initialize", params: { capabilities: large } }),
      http(),
      "invalid-params",
    ],
    ["headers before the method", request("ping"), modern("pong"), "header-mismatch"],
    ["a removed method", request("ping"), modern("ping"), "unknown-method"],
    ["initialize in a modern envelope", request("initialize"), modern("initialize"), "unknown-method"],
    ["headers before parameters", request("tools/call", { arguments: 1 }), modern("x"), "header-mismatch"],
    ["a name that is not a string", request("tools/call", { name: 1 }), modern("tools/call"), "invalid-params"],
    [
      "arguments that are not an object",
      request("tools/call", { name: "a__b", arguments: [] }),
      modern("tools/call", { "Mcp-Name": "a__b" }),
      "invalid-params",
    ],
    ["legacy: an unknown revision", body({}), http(version("2025-01-01")), "invalid-request"],
    ["legacy: a revision that is not a date", body({}), http(version("latest")), "invalid-request"],
    ["legacy: no name", body({ method: "tools/call" }), http(), "invalid-params"],
    [
      "legacy: arguments that are false",
      body({ method: "tools/call", params: { name: "x", arguments: false } }),
      stdio("legacy"),
      "invalid-params",
    ],
    ["legacy: _meta that is not an object", body({ meta: "x" }), stdio("legacy"), "invalid-params"],
    [
      "legacy: a progress token of another type",
      body({ meta: { progressToken: [] } }),
      stdio("legacy"),
      "invalid-params",
    ],
    ["stdio: a bare handshake after modern", body({ method: "initialize" }), stdio("modern"), "unsupported-version"],
    ["stdio: no envelope after modern", body({}), stdio("modern"), "bad-envelope"],
    ["stdio: a removed method", request("ping"), stdio("modern"), "unknown-method"],
  ];
  test.each(ladder)("%s", (_what, text, ctx, code) => {
    const failure = expectFailure(() => read(text, ctx), code);
    // A legacy client does not know the codes -3202x.
    if (_what.startsWith("legacy")) expect(failure.row.rpc).not.toBeWithin(-32099, -32019);
  });

  test("the error for an unsupported revision names the supported one", () => {
    const failure = expectFailure(() => read(listing({ [protocolVersionKey]: future }), http()), "unsupported-version");
    expect(failure.detail.data).toEqual({ supported: ["2026-07-28"], requested: future });
  });

  test("a header cannot forge output", () => {
    const failure = expectFailure(() => read(listing(), modern("\u009b31m")), "header-mismatch");
    expect(failure.message).not.toContain("\u009b");
  });
});

describe("message fields", () => {
  test("a legacy call", () => {
    const text =
      '{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"c__d", "arguments": {"n":12345678901234567890,"m":1.10},"_meta":{"progressToken":1.0}}}';
    const inbound = read(text, stdio("legacy", "2025-06-18"));
    expect(inbound).toMatchObject({
      kind: "request",
      method: "tools/call",
      idText: "9007199254740993",
      progressToken: "1.0",
    });
    expect(paramText(inbound, "arguments")).toBe('{"n":12345678901234567890,"m":1.10}');
    expect(inbound.spans.arguments && text.slice(...inbound.spans.arguments)).toBe(
      '{"n":12345678901234567890,"m":1.10}',
    );
    expect(inbound.paramHeaders).toBeNull();
    expect(inbound.client).toBeNull();
  });

  test("a modern call", () => {
    const meta = { ...envelope, [clientInfoKey]: { name: "n".repeat(999), version: "1" }, progressToken: "p" };
    const headers = { "Mcp-Name": "=?base64?YV9fYg==?=", "Mcp-Param-Region": "eu", "X-Other": "1" };
    const inbound = read(call(meta), modern("tools/call", headers));
    expect(inbound.paramHeaders).toEqual({ "mcp-param-region": "eu" });
    expect(inbound.progressToken).toBe('"p"');
    expect(inbound.client?.name.length).toBe(200);
  });

  test.each([
    ["prompts/get", { name: "p q" }, "p q"],
    ["resources/read", { uri: "file:///ü" }, "file:///ü"],
    ["resources/read", { uri: "=?base64?eA==?=" }, "=?base64?eA==?="],
    ["tasks/get", { taskId: " t " }, " t "],
    ["tasks/update", { taskId: "t" }, "t"],
    ["tasks/cancel", { taskId: "t\u0000" }, "t\u0000"],
  ])("Mcp-Name of %s %p, as a sentinel if needed", (method, params, name) => {
    const text = body({ method, params, meta: envelope });
    expect(read(text, modern(method, { "Mcp-Name": encodeHeader(name) })).method).toBe(method);
  });

  test("the capabilities and log level that a modern client declares with each request, as written and parsed", () => {
    const text =
      '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities": {"x":1.10, "elicitation":{} },"io.modelcontextprotocol/logLevel":"warning"}}}';
    const inbound = read(text, modern("tools/list"));
    expect(inbound.capabilities).toEqual({ text: '{"x":1.10, "elicitation":{} }', value: { x: 1.1, elicitation: {} } });
    expect(inbound.logLevel).toBe("warning");
    expect(read(call(envelope), modern("tools/call", { "Mcp-Name": "a__b" }))).toMatchObject({ logLevel: null });
  });

  test("S23: the values of a message are counted and add to its weight", () => {
    const inbound = read(body({ method: "ping", params: { a: [[], {}, "x", 1, null] } }), http());
    expect(inbound.values).toBe(11);
    expect(weightOf(inbound)).toBe(inbound.text.length + 16 * 11);
  });

  test("a legacy client declares capabilities with initialize only", () => {
    const text =
      '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"roots":{"listChanged": true}},"protocolVersion":"2025-11-25"}}';
    expect(read(text, http()).capabilities).toEqual({
      text: '{"roots":{"listChanged": true}}',
      value: { roots: { listChanged: true } },
    });
    for (const params of [{}, { capabilities: null }, { capabilities: [] }]) {
      expect(read(body({ method: "initialize", params }), http()).capabilities).toBeNull();
    }
    const meta = { ...envelope, [logLevelKey]: "loud" };
    const later = read(
      body({ method: "tools/list", params: { capabilities: {} }, meta }),
      stdio("legacy", "2025-11-25"),
    );
    expect(later).toMatchObject({ capabilities: null, logLevel: null, answer: null });
  });

  test.each([
    ["longer than 16384 characters", { a: "x".repeat(16_384) }],
    ["more than 500 values", { a: Array(499).fill([]) }],
  ])("T27: a session does not keep capabilities of %s", (what, capabilities) => {
    const text = body({ method: "initialize", params: { protocolVersion: "2025-11-25", capabilities } });
    expect(() => read(text, http())).toThrow(what);
  });

  test("S20: the result or error of a response, as written", () => {
    const answer = (text: string) => read(text, http({}, "2025-11-25")).answer;
    expect(answer('{"result": {"n":1.10} ,"id":"a","jsonrpc":"2.0"}')).toEqual({ kind: "result", text: '{"n":1.10}' });
    expect(answer('{"jsonrpc":"2.0","id":1,"result":{},"error": null}')).toEqual({ kind: "result", text: "{}" });
    expect(answer('{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":-1,"message":"x"}}')).toEqual({
      kind: "error",
      text: '{"code":-1,"message":"x"}',
    });
    expect(answer('{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"result"}}')).toEqual({
      kind: "error",
      text: '{"code":-1,"message":"result"}',
    });
  });

  test("the client of a handshake", () => {
    const params = { protocolVersion: "2025-11-25", clientInfo: { name: "c", version: "2", title: "x" } };
    expect(read(body({ method: "initialize", params }), stdio(null)).client).toEqual({ name: "c", version: "2" });
  });

  test("S20: the id that a cancellation names, as written", () => {
    const text =
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"r","requestId": 9007199254740993 }}';
    const inbound = read(text, stdio("legacy"));
    expect(paramText(inbound, "requestId")).toBe("9007199254740993");
    expect(paramText(inbound, "toString")).toBeNull();
  });
});
