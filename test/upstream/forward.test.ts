import { expect, test } from "bun:test";
import { askOf, type Way } from "../../src/upstream/forward.ts";
import { modernPeer } from "../../src/upstream/link/handshake.ts";
import { makeCall, makeInbound, makeRoute } from "../support/call.ts";

const client = { name: "t", version: "0" };
const way: Way = { peer: modernPeer, client, timeout: 1, told: 1, most: 1, asks: false, own: true, mirrors: true };

test.each([
  ["prompts/get", { name: "p", "": "x" }, {}, "p"],
  ["prompts/get", { name: "wire" }, { name: '"own"' }, "own"],
  ["completion/complete", { "": "x" }, {}, undefined],
])("a modern server is told the name of a %s with %j in a header", (method, params, edits, name) => {
  const call = makeCall({ inbound: makeInbound(params, method) });
  const { headers } = askOf(call, makeRoute("a", "t"), { method, edits }, way);
  expect(headers?.["Mcp-Name"]).toBe(name);
});
