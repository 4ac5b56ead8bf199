import { expect, test } from "bun:test";
import { readInbound } from "../../src/mcp/classify.ts";
import { makeCall, makeRoute } from "../support/call.ts";
import { principal } from "../support/principal.ts";

test("a detached call is equal except for how its caller is reached", () => {
  const call = makeCall({ scope: "docs", emit: () => {}, ask: () => Promise.reject(new Error()) });
  call.who = principal();
  call.route = makeRoute("crm", "get");
  call.target = "crm:get";
  call.verdict = { rule: "r1", reason: "allowed" };
  call.policy = "digest";
  const controller = new AbortController();
  const emit = (): void => {};
  const detached = call.detached(controller, emit);
  expect(Object.assign({}, detached)).toEqual(Object.assign({}, call, { controller, emit, ask: null, input: null }));
  expect(detached.knownMethod).toBe("tools/call");
});

test("a request is ok only with a result; a notification is ok without one", () => {
  const call = makeCall();
  expect(call.status).toBe("error");
  call.reply = { kind: "result", era: "legacy", text: "{}", isError: false, type: null };
  expect(call.status).toBe("ok");
  expect(makeCall({ inbound: { ...call.inbound, kind: "notification", idText: null } }).status).toBe("ok");
});

const whole = '{ "ref":{}, "argument":{"value":1.10}, "arguments":{} }';
test.each([
  ["tools/call", '{"name":"t","arguments":{ "n":1.10}}', '{ "n":1.10}'],
  ["prompts/get", '{"name":"p"}', "{}"],
  [
    "completion/complete",
    '{"argument":{"name":"pin","value":"47"},"context":{"arguments":{"user":"a"}}}',
    '{"user":"a","pin":"47"}',
  ],
  ["completion/complete", '{"argument":{"name":"__proto__","value":"x"}}', '{"__proto__":"x"}'],
  [
    "completion/complete",
    '{"argument":{"name":"pin","value":"4"},"context":{"arguments":{"pin":"47","user":"a"}}}',
    '{"pin":["47","4"],"user":"a"}',
  ],
  ["completion/complete", '{"argument":["name"],"context":{"arguments":[1]}}', "{}"],
  ["tasks/cancel", '{"taskId":"t-1","arguments":{"a":1}}', '{"taskId":"t-1"}'],
  ["com.acme/deploy", whole, whole],
])("the arguments of %s %s are %s", (method, params, asked) => {
  const text = `{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params}}`;
  const inbound = readInbound(text, { depth: 9, nodes: 99 }, { headers: null, pinned: "legacy", revision: null });
  expect(makeCall({ inbound }).argumentsText).toBe(asked);
});
