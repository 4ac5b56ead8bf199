import { expect, test } from "bun:test";
import { requestOf } from "../../src/upstream/forward.ts";
import { ungreeted } from "../../src/upstream/link/handshake.ts";
import { makeCall, makeInbound, makeRoute } from "../support/call.ts";
import { http } from "../support/upstream.ts";

const target = {
  peer: ungreeted,
  spec: { owner: null, asks: false },
  options: http("a", "http://localhost/"),
  client: { name: "t", version: "0" },
  waited: 0,
  prepare: () => null,
};

test.each([
  ["prompts/get", { name: "p", "": "x" }, {}, "p"],
  ["prompts/get", { name: "wire" }, { name: '"own"' }, "own"],
  ["completion/complete", { "": "x" }, {}, undefined],
])("the header for a %s with %j names the item for a modern server", (method, params, edits, name) => {
  const call = makeCall({ inbound: makeInbound(params, method) });
  const { headers } = requestOf(call, makeRoute("a", "t"), { method, edits }, target);
  expect(headers?.["Mcp-Name"]).toBe(name);
});
