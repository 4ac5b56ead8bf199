import { describe, expect, test } from "bun:test";
import { Failure, type FailureCode, type FailureDetail, failures } from "../../src/core/failure.ts";
import type { Era, Inbound, Revision } from "../../src/core/inbound.ts";
import {
  answerMessage,
  errorMessage,
  failureMessage,
  progressNotification,
  resultMessage,
  underToken,
} from "../../src/mcp/reply.ts";
import { makeInbound } from "../support/call.ts";

const inbound = (revision: Revision, method = "tools/call"): Inbound => ({
  ...makeInbound({}, method),
  era: revision === "2026-07-28" ? "modern" : "legacy",
  revision,
});

const answer = (code: FailureCode, detail: FailureDetail, to: Inbound | null, idText: string | null = "1"): unknown =>
  JSON.parse(failureMessage(new Failure(code, "What went wrong.", detail), to && { ...to, idText }));

const content = [{ type: "text", text: "What went wrong." }];

test("S20: the id is echoed as it was written", () => {
  expect(resultMessage("9007199254740993", '{"n":1.10}')).toBe(
    '{"jsonrpc":"2.0","id":9007199254740993,"result":{"n":1.10}}',
  );
  expect(errorMessage('"1"', -32601, "x", { a: 1 })).toBe(
    '{"jsonrpc":"2.0","id":"1","error":{"code":-32601,"message":"x","data":{"a":1}}}',
  );
  expect(errorMessage(null, -32700, "x")).toBe('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}');
});

describe("failures", () => {
  test("a refusal in 2026-07-28 names the server, like every result of that revision", () => {
    const server = { name: "mcpgw", version: "1" };
    const failure = new Failure("rate-limited", "Slow down.", { retryAfterMs: 5 });
    const meta = (to: Revision): unknown => JSON.parse(failureMessage(failure, inbound(to), server)).result._meta;
    const limit = { "mcpgw.dev/limit": { code: "rate-limited", retryAfterMs: 5 } };
    expect(meta("2026-07-28")).toEqual({ "io.modelcontextprotocol/serverInfo": server, ...limit });
    expect(meta("2025-11-25")).toEqual(limit);
  });
  test("a server's own refusal of a subscription is passed on unchanged", () => {
    const refusal = '{"code": -32602,"message":"no","data":{"n":1.10}}';
    const failure = new Failure("invalid-params", 'The server "crm" refuses it: no', { refusal });
    const subscribing = inbound("2025-11-25", "resources/subscribe");
    expect(failureMessage(failure, subscribing)).toBe(`{"jsonrpc":"2.0","id":1,"error":${refusal}}`);
  });
  test("a refusal for a missing resource names the requested URI, as for a read", () => {
    const refusal = (uri: string) => `{"code":-32002,"message":"no","data":{"uri":"${uri}","n":1.10}}`;
    const failure = new Failure("invalid-params", "It refuses it.", { refusal: refusal("db://x") });
    const subscribing = { ...inbound("2025-11-25", "resources/subscribe"), params: { uri: "mcpgw+crm:db://x" } };
    expect(failureMessage(failure, subscribing)).toContain(refusal("mcpgw+crm:db://x"));
  });
  const asTool: [code: FailureCode, revision: Revision, tool: boolean][] = [
    ["denied", "2024-11-05", true],
    ["denied", "2026-07-28", true],
    ["timeout", "2025-06-18", true],
    ["lost", "2026-07-28", true],
    ["upstream-down", "2025-11-25", true],
    ["invalid-arguments", "2024-11-05", false],
    ["invalid-arguments", "2025-06-18", false],
    ["invalid-arguments", "2025-11-25", true],
    ["invalid-arguments", "2026-07-28", true],
    ["unknown-tool", "2026-07-28", false],
    ["overloaded", "2025-11-25", false],
    ["internal", "2025-11-25", false],
  ];
  test.each(asTool)("%s to %s", (code, revision, tool) => {
    const modern = revision === "2026-07-28" ? { resultType: "complete" } : {};
    const error = expect.objectContaining({ code: failures[code].rpc, message: "What went wrong." });
    const expected = tool ? { result: { ...modern, content, isError: true } } : { error };
    expect(answer(code, {}, inbound(revision))).toEqual({ jsonrpc: "2.0", id: 1, ...expected });
  });

  test("a tool failure outside tools/call, or without a parsed message, is an error", () => {
    expect(answer("timeout", {}, inbound("2025-11-25", "tools/list"))).toHaveProperty("error.code", -32603);
    expect(answer("timeout", {}, null, null)).toMatchObject({ id: null, error: { code: -32603 } });
  });

  test("a limit says when to retry", () => {
    const limited = answer("rate-limited", { retryAfterMs: 1500, limit: "perMinute" }, inbound("2025-11-25"));
    expect(limited).toHaveProperty("result._meta", {
      "mcpgw.dev/limit": { code: "rate-limited", limit: "perMinute", retryAfterMs: 1500 },
    });
  });

  test("a limit that allows no calls is not reported as retryable and has no retry time", () => {
    expect(answer("rate-limited", { limit: "perMinute" }, null)).not.toHaveProperty("error.data");
    expect(answer("rate-limited", { retryAfterMs: 9 }, null)).toHaveProperty("error.data.retryable", true);
    const limited = answer("rate-limited", { limit: "perMinute" }, inbound("2025-11-25"));
    expect(limited).toHaveProperty("result._meta", { "mcpgw.dev/limit": { code: "rate-limited", limit: "perMinute" } });
  });

  test("a retryable failure is reported as retryable", () => {
    expect(answer("overloaded", { retryAfterMs: 9 }, null)).toHaveProperty("error.data", {
      retryable: true,
      retryAfterMs: 9,
    });
    expect(answer("audit-unavailable", {}, null)).toHaveProperty("error.data", { retryable: true });
    expect(answer("unknown-tool", {}, null)).not.toHaveProperty("error.data");
  });

  test("a denial names its rule once", () => {
    const text = (message: string) =>
      failureMessage(new Failure("denied", message, { rule: "no-drop" }), inbound("2025-11-25"));
    expect(text("Denied.")).toContain("Denied. (rule no-drop)");
    expect(text("Rule no-drop denies this.")).not.toContain("(rule");
  });

  test("the operator's detail never reaches the caller", () => {
    for (const code of Object.keys(failures) as FailureCode[]) {
      for (const to of [null, inbound("2025-11-25"), inbound("2026-07-28")]) {
        expect(JSON.stringify(answer(code, { internal: "SECRET", challenge: "SECRET" }, to))).not.toContain("SECRET");
      }
    }
  });
});

describe("results between eras", () => {
  const server = { name: "mcpgw", version: "9" };
  const info = '"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"mcpgw","version":"9"}}';
  type Case = [method: string, result: string, shaped: string];
  const cases: Record<Era, Record<Era, Case[]>> = {
    legacy: {
      legacy: [
        ["tools/call", '{ "content":[],"x":1.10,"ttlMs":5 }', '{ "content":[],"x":1.10,"ttlMs":5 }'],
        ["tools/call", '{"_meta":{"io.modelcontextprotocol/subscriptionId":1,"a":1.10}}', '{"_meta":{"a":1.10}}'],
        ["tools/call", '{"\\u005fmeta":{"io.modelcontextprotocol/serverInfo":1}}', "{}"],
      ],
      modern: [
        [
          "tools/call",
          '{"content":[{"n":12345678901234567890}]}',
          `{"content":[{"n":12345678901234567890}],${info},"resultType":"complete"}`,
        ],
        ["tools/call", '{"resultType":"task","content":[]}', `{"resultType":"complete","content":[],${info}}`],
        ["tools/list", '{"tools":[]}', `{"tools":[],${info},"resultType":"complete","ttlMs":0,"cacheScope":"private"}`],
        [
          "resources/read",
          '{"contents":[],"ttlMs":9}',
          `{"contents":[],"ttlMs":0,${info},"resultType":"complete","cacheScope":"private"}`,
        ],
        ["skills/get", "{}", `{${info},"resultType":"complete","ttlMs":0,"cacheScope":"private"}`],
        // In an extension, members of these names may have any meaning.
        ["com.acme/do", '{"ttlMs":[1.10]}', `{"ttlMs":[1.10],${info},"resultType":"complete"}`],
        ["com.acme/do", '{"cacheScope":"all"}', `{"cacheScope":"all",${info},"resultType":"complete"}`],
      ],
    },
    modern: {
      legacy: [
        [
          "tools/call",
          '{"resultType":"complete","content":[],"structuredContent":{"a":1.10}}',
          '{"content":[],"structuredContent":{"a":1.10}}',
        ],
        [
          "tools/list",
          '{"tools":[],"ttlMs":1,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{}}}',
          '{"tools":[]}',
        ],
        [
          "tools/call",
          '{"content":[{"type":"text","text":"t"}],"structuredContent":[1]}',
          '{"content":[{"type":"text","text":"t"}]}',
        ],
        ["tools/call", '{"content":[ ],"structuredContent":[1.10]}', '{"content":[{"type":"text","text":"[1.10]"}]}'],
        ["tools/call", '{"structuredContent":7}', '{"content":[{"type":"text","text":"7"}]}'],
        ["tools/call", '{"content":null,"structuredContent":7}', '{"content":[{"type":"text","text":"7"}]}'],
        ["completion/complete", '{"resultType":"complete","completion":{"values":[]}}', '{"completion":{"values":[]}}'],
        [
          "com.acme/do",
          '{"resultType":"complete","ttlMs":5,"_meta":{"io.modelcontextprotocol/x":1,"a":1}}',
          '{"ttlMs":5,"_meta":{"a":1}}',
        ],
      ],
      modern: [
        [
          "tools/list",
          '{"resultType":"complete","tools":[],"ttlMs":9,"cacheScope":"public"}',
          `{"resultType":"complete","tools":[],"ttlMs":0,"cacheScope":"private",${info}}`,
        ],
        [
          "tools/call",
          '{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"forged"},"a":1},"resultType":"x/y"}',
          '{"_meta":{"a":1,"io.modelcontextprotocol/serverInfo":{"name":"mcpgw","version":"9"}},"resultType":"x/y"}',
        ],
        ["tools/call", '{"content":[]}', `{"content":[],${info},"resultType":"complete"}`],
        ["tools/call", '{"resultType":null,"content":[]}', `{"resultType":"complete","content":[],${info}}`],
        [
          "resources/read",
          '{"resultType":"complete","contents":[],"ttlMs":900,"cacheScope":"public"}',
          `{"resultType":"complete","contents":[],"ttlMs":900,"cacheScope":"private",${info}}`,
        ],
        [
          "resources/read",
          '{"resultType":"complete","ttlMs":-1}',
          `{"resultType":"complete","ttlMs":0,${info},"cacheScope":"private"}`,
        ],
        [
          "tools/call",
          '{"resultType":"input_required","requestState":"s","ttlMs":5,"cacheScope":"public"}',
          `{"resultType":"input_required","requestState":"s",${info}}`,
        ],
        [
          "resources/read",
          '{"resultType":"x","ttlMs":5,"cacheScope":"public"}',
          `{"resultType":"x","ttlMs":5,"cacheScope":"private",${info}}`,
        ],
        ["com.acme/do", '{"resultType":"x","ttlMs":5}', `{"resultType":"x","ttlMs":5,${info}}`],
        [
          "skills/list",
          '{"resultType":"complete","skills":[],"ttlMs":900,"cacheScope":"public"}',
          `{"resultType":"complete","skills":[],"ttlMs":900,"cacheScope":"private",${info}}`,
        ],
        // This holds for every spelling and every kind of result.
        [
          "com.acme/do",
          '{"resultType":"x","cacheScope":"\\u0070ublic"}',
          `{"resultType":"x","cacheScope":"private",${info}}`,
        ],
        [
          "com.acme/do",
          '{"resultType":"x","cacheScope":"private","cacheScope":"public"}',
          `{"resultType":"x","cacheScope":"private","cacheScope":"private",${info}}`,
        ],
      ],
    },
  };
  for (const from of ["legacy", "modern"] as const)
    for (const to of ["legacy", "modern"] as const)
      test.each(cases[from][to])(`${from} to ${to}, %s: %s`, (method, result, shaped) => {
        const asked = inbound(to === "modern" ? "2026-07-28" : "2025-11-25", method);
        const [, said = "complete"] = /"resultType":"([^"]*)"/.exec(result) ?? [];
        const type = from === "legacy" || said === "complete" ? null : said;
        const reply = { kind: "result", era: from, text: result, isError: false, type } as const;
        expect(answerMessage(asked, reply, server, null)).toBe(resultMessage("1", shaped));
      });
});

describe("the answer to a request", () => {
  const server = { name: "mcpgw", version: "9" };
  const reply = (text: string, type: string | null = null) =>
    ({ kind: "result", era: "modern", text, isError: false, type }) as const;
  const say = (to: Inbound, text: string, type: string | null = null): unknown =>
    JSON.parse(answerMessage(to, reply(text, type), server, null)).result;

  test("S06: cacheable results are private, and the result of a retry is not cached", () => {
    const read = { ...inbound("2026-07-28", "resources/read"), params: { uri: "a:b" } };
    const text = '{"resultType":"complete","contents":[],"ttlMs":900,"cacheScope":"public"}';
    expect(say(read, text)).toMatchObject({ ttlMs: 900, cacheScope: "private" });
    const retry = { ...read, params: { uri: "a:b", inputResponses: {} } };
    expect(say(retry, text)).toMatchObject({ ttlMs: 0, cacheScope: "private" });
    const called = { ...inbound("2026-07-28", "tools/call"), params: { name: "t", inputResponses: {} } };
    expect(say(called, '{"resultType":"complete","content":[]}')).not.toHaveProperty("ttlMs");
    for (const list of ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]) {
      expect(say(inbound("2026-07-28", list), text)).toMatchObject({ ttlMs: 0, cacheScope: "private" });
    }
  });

  test.each(["tools/call", "prompts/get", "resources/read"])(
    "input_required of %s carries no cache hints",
    (method) => {
      const asked =
        '{"resultType":"input_required","inputRequests":{},"requestState":"s","ttlMs":1,"cacheScope":"public"}';
      expect(say(inbound("2026-07-28", method), asked, "input_required")).toEqual({
        resultType: "input_required",
        inputRequests: {},
        requestState: "s",
        _meta: { "io.modelcontextprotocol/serverInfo": server },
      });
    },
  );

  test("a task keeps its ttlMs", () => {
    expect(say(inbound("2026-07-28"), '{"resultType":"task","taskId":"t","ttlMs":5}', "task")).toHaveProperty(
      "ttlMs",
      5,
    );
  });

  test("an error keeps the id and is translated for the caller's era", () => {
    const error = { kind: "error", era: "legacy", text: '{"code":-32002,"message":"gone"}', code: -32002 } as const;
    expect(answerMessage({ ...inbound("2026-07-28", "resources/read"), idText: "1.0" }, error, server, "a:b")).toBe(
      '{"jsonrpc":"2.0","id":1.0,"error":{"code":-32602,"message":"gone","data":{"uri":"a:b"}}}',
    );
    expect(answerMessage(inbound("2026-07-28"), error, server, null)).toBe(
      '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"gone"}}',
    );
  });
});

test("a missing resource has the code of the caller's era; in a completion it has the code for invalid params", () => {
  const code = (revision: Revision, method: string) =>
    answer("unknown-resource", { data: { uri: "a:b" } }, inbound(revision, method));
  for (const [method, old] of [
    ["resources/read", -32002],
    ["resources/subscribe", -32002],
    ["completion/complete", -32602],
  ] as const) {
    expect(code("2025-11-25", method)).toMatchObject({ error: { code: old, data: { uri: "a:b" } } });
    expect(code("2026-07-28", method)).toMatchObject({ error: { code: -32602, data: { uri: "a:b" } } });
  }
});

test("progress is sent under the caller's token", () => {
  const params = '{"progressToken":5,"progress":1.10,"total":3,"_meta":{"io.modelcontextprotocol/subscriptionId":1}}';
  expect(progressNotification('"mine"', params)).toBe(
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":1.10,"total":3}}',
  );
  expect(progressNotification("1.0", '{"progress":2}')).toBe(
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":2,"progressToken":1.0}}',
  );
});

test("for each request of a call, progress gets the request's token, logs pass if requested, and extensions' notifications are unchanged", () => {
  const progress =
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"one","progress":1.10}}';
  const log = '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1.10}}';
  const of = (progressToken: string | null, logLevel: string | null) => ({ progressToken, logLevel }) as never;
  expect(underToken(progress, of('"two"', null))).toBe(progress.replace('"one"', '"two"'));
  expect(underToken(progress, of("7", null))).toBe(progress.replace('"one"', "7"));
  expect(underToken(progress, of(null, "debug"))).toBeNull();
  expect(underToken(log, of('"two"', null))).toBeNull();
  expect(underToken(log, of(null, "debug"))).toBe(log);
  const other = '{"jsonrpc":"2.0","method":"notifications/other"}';
  expect(underToken(other, of(null, null))).toBe(other);
  const complete = '{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{}}';
  expect(underToken(complete, of("1", "debug"))).toBeNull();
});
