import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { readUpstream, type UpstreamMessage } from "../../src/mcp/upstream-message.ts";
import { limits } from "./support.ts";

const cases: [text: string, message: UpstreamMessage][] = [
  [
    '{"jsonrpc":"2.0","id":1,"result":{ "n":1.10,"isError":true }}',
    { kind: "result", idText: "1", result: '{ "n":1.10,"isError":true }', isError: true, resultType: null },
  ],
  [
    '{"result":{"resultType":"complete","isError":"yes"},"id":"1","jsonrpc":"2.0"}',
    {
      kind: "result",
      idText: "1",
      result: '{"resultType":"complete","isError":"yes"}',
      isError: false,
      resultType: "complete",
    },
  ],
  [
    '{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":-32601,"message":"no","data":{"a":1}}}',
    {
      kind: "error",
      idText: "9007199254740993",
      error: '{"code":-32601,"message":"no","data":{"a":1}}',
      code: -32601,
      message: "no",
      data: { a: 1 },
    },
  ],
  [
    '{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}',
    { kind: "error", idText: null, error: '{"code":1,"message":""}', code: 1, message: "", data: undefined },
  ],
  [
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken": 1.0}}',
    {
      kind: "notification",
      method: "notifications/progress",
      params: { progressToken: 1 },
      paramsText: '{"progressToken": 1.0}',
    },
  ],
  ['{"jsonrpc":"2.0","method":"n"}', { kind: "notification", method: "n", params: {}, paramsText: "{}" }],
  [
    '{"jsonrpc":"2.0","id":1,"method":null,"params":null,"result":{},"error":null}',
    { kind: "result", idText: "1", result: "{}", isError: false, resultType: null },
  ],
  [
    '{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1,"message":"x"}}',
    { kind: "error", idText: "1", error: '{"code":1,"message":"x"}', code: 1, message: "x", data: undefined },
  ],
  [
    '{"jsonrpc":"2.0","id":null,"method":"notifications/x","params":null,"result":null,"error":null}',
    { kind: "notification", method: "notifications/x", params: {}, paramsText: "{}" },
  ],
  [
    '{"jsonrpc":"2.0","id":3,"method":"roots/list","params":null}',
    { kind: "request", idText: "3", method: "roots/list", paramsText: "{}" },
  ],
  [
    '{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{}}',
    { kind: "request", idText: "3", method: "sampling/createMessage", paramsText: "{}" },
  ],
];
test.each(cases)("T14: %s", (text, message) => expect(readUpstream(text, limits)).toEqual(message));

test.each([
  ["21", "21"],
  ["21.0", "21"],
  ["2.1e1", "21"],
  ['"21"', "21"],
  ['"\\u00321"', "21"],
  ['"21.0"', '"21.0"'],
  ['"0x15"', '"0x15"'],
  ['" 21"', '" 21"'],
  ['""', '""'],
  ["9007199254740993", "9007199254740993"],
])("the answer to id %s is read as the answer to %s, a request keeps its id as written", (id, idText) => {
  for (const answer of ['"result":{}', '"error":{"code":1,"message":""}']) {
    expect(readUpstream(`{"jsonrpc":"2.0","id":${id},${answer}}`, limits)).toMatchObject({ idText });
  }
  const request = readUpstream(`{"jsonrpc":"2.0","method":"ping","id":${id}}`, limits);
  expect(request).toMatchObject(id.includes("e") ? { kind: "invalid" } : { idText: id });
});

describe("T14: invalid", () => {
  test.each([
    "",
    "Server started",
    "null",
    "[]",
    '[{"jsonrpc":"2.0","id":1,"result":{}}]',
    "{}",
    '{"id":1,"result":{}}',
    '{"jsonrpc":"2.0","id":1}',
    '{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}',
    '{"jsonrpc":"2.0","id":1,"result":null,"error":null}',
    '{"jsonrpc":"2.0","id":null,"result":{}}',
    '{"jsonrpc":"2.0","result":{}}',
    '{"jsonrpc":"2.0","id":1.5,"result":{}}',
    '{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    '{"jsonrpc":"2.0","id":{},"result":{}}',
    '{"jsonrpc":"2.0","id":true,"error":{"code":1,"message":"x"}}',
    '{"jsonrpc":"2.0","id":1,"result":[]}',
    '{"jsonrpc":"2.0","id":1,"result":"x"}',
    '{"jsonrpc":"2.0","id":1,"result":{"resultType":7}}',
    '{"jsonrpc":"2.0","id":1,"error":"x"}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":"x"}}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"x"}}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":1}}',
    '{"jsonrpc":"2.0","method":7}',
    '{"jsonrpc":"2.0","id":null,"method":"ping"}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}',
    '{"jsonrpc":"2.0","method":"n","params":[]}',
    '{"jsonrpc":"2.0","id":1,"id":2,"result":{}}',
    '{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}',
    `{"jsonrpc":"2.0","id":1,"result":{"a":${"[".repeat(100)}${"]".repeat(100)}}}`,
  ])("%s", (text) => {
    const message = readUpstream(text, limits);
    expect(message).toEqual({
      kind: "invalid",
      reason: expect.stringMatching(/./),
      ofAnswer: expect.stringMatching(/^its answer(:| has) ./),
      limit: text.includes("[[") ? "limits.depth" : null,
    });
  });
});

test("T20: the reader never throws", () => {
  const token = fc.constantFrom(
    '{"jsonrpc":"2.0",',
    '"id":',
    "1",
    '"result":',
    '"error":',
    "{",
    "}",
    "[",
    "]",
    ",",
    '"',
    "\\",
    "null",
    "\ud800",
  );
  fc.assert(
    fc.property(fc.array(token, { maxLength: 12 }), (tokens) => void readUpstream(tokens.join(""), limits)),
    { numRuns: 2000 },
  );
});

test("a waiting question of a server keeps only its own parts of the message in memory", () => {
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const padding = Buffer.alloc(2 ** 20, "x").toString();
  const before = heap();
  const kept = Array.from({ length: 100 }, (_, at) =>
    readUpstream(
      `{"jsonrpc":"2.0","id":"ask-${at}","method":"roots/list","params":{"a":${at}},"z":"${padding}"}`,
      limits,
    ),
  );
  expect(heap() - before).toBeLessThan(20 * 2 ** 20);
  expect(kept.at(-1)).toEqual({ kind: "request", idText: '"ask-99"', method: "roots/list", paramsText: '{"a":99}' });
});
