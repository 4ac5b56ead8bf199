import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Inbound } from "../../src/core/inbound.ts";
import { readInbound } from "../../src/mcp/classify.ts";
import { callParams, notificationText, requestText } from "../../src/mcp/outbound.ts";
import { limits, spaced } from "./support.ts";

const call = (params: string): Inbound =>
  readInbound(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`, limits, {
    headers: null,
    pinned: "legacy",
    revision: "2025-11-25",
  });

const legacy = {
  edits: { name: '"search"' },
  era: "legacy",
  revision: "2025-06-18",
  progressToken: null,
  client: { name: 'mc"pgw', version: "1" },
  capabilities: "{}",
  logLevel: null,
} as const;
const modern = { ...legacy, era: "modern", revision: "2026-07-28", progressToken: "17" } as const;

const stamped =
  '"progressToken":17,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"mc\\"pgw","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}';

describe("parameters of a call", () => {
  /** `meta` is what remains of the caller's `_meta`. */
  const cases: [what: string, params: string, sent: string, meta?: string][] = [
    ["only a name", '{"name":"gh__search"}', '"name":"search"'],
    [
      "SEMANTICS 6: arguments as written",
      '{"name":"gh__search","arguments":{ "n":12345678901234567890, "m":1.10,"s":"\\u00e9\\ud800" }}',
      '"name":"search","arguments":{ "n":12345678901234567890, "m":1.10,"s":"\\u00e9\\ud800" }',
    ],
    [
      "the caller's token and reserved keys are dropped, its own keys and the trace are passed on",
      '{"name":"x","_meta":{"progressToken":"p","io.modelcontextprotocol/logLevel":"debug","io.modelcontextprotocol/protocolVersion":"1","traceparent":"00-a","com.acme/x":1.10}}',
      '"name":"search"',
      '"traceparent":"00-a","com.acme/x":1.10',
    ],
    [
      "null arguments as written, and a null _meta as absent",
      '{"name":"x","arguments": null,"_meta":null}',
      '"name":"search","arguments": null',
    ],
    ["a _meta with nothing left is dropped", '{"name":"x","_meta":{"progressToken":1}}', '"name":"search"'],
    [
      "an escaped key is recognized",
      '{"n\\u0061me":"x","_met\\u0061":{"io.modelcontextprotocol\\/clientInfo":1,"progress\\u0054oken":2}}',
      '"name":"search"',
    ],
    [
      "S27: keys that some servers may read as an answer, a state or a task are dropped",
      '{"name":"x","inputresponses":{"k":{}},"RequestState":"s","TASK":{},"extra":[1]}',
      '"name":"search","extra":[1]',
    ],
    [
      "S27: keys that some servers may read as the name are dropped",
      '{"name":"x","Name":"evil","ARGUMENTS":{"a":1},"_Meta":{},"extra":[1]}',
      '"name":"search","extra":[1]',
    ],
    [
      "S27: the same holds for non-ASCII letters that fold to ASCII",
      '{"name":"x","argument\u017f":{"a":1},"taſK":{},"requeſtState":"s","extra":[1]}',
      '"name":"search","extra":[1]',
    ],
    [
      "S27: keys that some servers may read as a progress token or a reserved key are dropped",
      '{"name":"x","_meta":{"ProgressToken":7,"progre\u017f\u017ftoken":8,"IO.modelcontextprotocol/logLevel":"debug","a":1}}',
      '"name":"search"',
      '"a":1',
    ],
    [
      "members of features that are not offered are dropped",
      '{"name":"x","task":{"ttl":1},"inputResponses":{},"requestState":"s"}',
      '"name":"search"',
    ],
  ];
  test("S27: a replaced member is not also sent under another spelling of its key", () => {
    const params = call('{"name":"x","taskId":"handle","taskid":"t-1","TaskId":"t-2","a":1}');
    expect(callParams(params, { ...legacy, edits: { name: null, taskId: '"own"' } })).toBe('{"taskId":"own","a":1}');
  });
  test.each(cases)("%s", (_what, params, sent, meta = "") => {
    expect(callParams(call(params), legacy)).toBe(`{${sent}${meta && `,"_meta":{${meta}}`}}`);
    expect(callParams(call(params), modern)).toBe(`{${sent},"_meta":{${meta && `${meta},`}${stamped}}}`);
  });

  test("a legacy upstream gets the gateway's token", () => {
    expect(callParams(call('{"name":"x"}'), { ...legacy, progressToken: '"t"' })).toBe(
      '{"name":"search","_meta":{"progressToken":"t"}}',
    );
  });

  test("a modern upstream gets the requested log level", () => {
    expect(callParams(call('{"name":"x"}'), { ...modern, logLevel: "info" })).toBe(
      `{"name":"search","_meta":{${stamped},"io.modelcontextprotocol/logLevel":"info"}}`,
    );
    expect(callParams(call('{"name":"x"}'), { ...legacy, logLevel: "info" })).toBe('{"name":"search"}');
  });

  test("all arguments are passed on character for character", () => {
    const object = fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 6 });
    fc.assert(
      fc.property(object, fc.constantFrom("", " ", "\n"), (args, space) => {
        const text = spaced(args, space);
        expect(callParams(call(`{"arguments": ${text} ,"name":"x"}`), legacy)).toBe(
          `{"name":"search","arguments": ${text}}`,
        );
      }),
      { numRuns: 300 },
    );
  });
});

test("a message has its params as written, and no params if there are none", () => {
  expect(requestText(7, "ping", null)).toBe('{"jsonrpc":"2.0","id":7,"method":"ping"}');
  expect(requestText('a"b', "x/y", '{"n":1.10}')).toBe(
    '{"jsonrpc":"2.0","id":"a\\"b","method":"x/y","params":{"n":1.10}}',
  );
  expect(notificationText("notifications/initialized", null)).toBe(
    '{"jsonrpc":"2.0","method":"notifications/initialized"}',
  );
  expect(notificationText("n", "{}")).toBe('{"jsonrpc":"2.0","method":"n","params":{}}');
});
