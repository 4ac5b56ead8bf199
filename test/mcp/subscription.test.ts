import { expect, test } from "bun:test";
import { subscribed, subscriptionMeta } from "../../src/mcp/subscription.ts";

test("S20: a notification carries the id of the listen request as written", () => {
  for (const id of ["1", '"1"', "9007199254740993", '"\\u00e9"']) {
    const meta = `"_meta":{"io.modelcontextprotocol/subscriptionId":${id}}`;
    expect(subscribed("n", null, id)).toBe(`{"jsonrpc":"2.0","method":"n","params":{${meta}}}`);
    expect(subscribed("n", '{"uri":"a:b","n":1.10}', id)).toBe(
      `{"jsonrpc":"2.0","method":"n","params":{"uri":"a:b","n":1.10,${meta}}}`,
    );
  }
});

test("a server cannot set the subscription id", () => {
  const forged = '{"_meta":{"io.modelcontextprotocol/subscriptionId":"theirs","com.acme/x":1}}';
  expect(subscribed("n", forged, "7")).toBe(
    '{"jsonrpc":"2.0","method":"n","params":{"_meta":{"com.acme/x":1,"io.modelcontextprotocol/subscriptionId":7}}}',
  );
});

test("the end of a subscription names the subscription and the server", () => {
  expect(subscriptionMeta('"L"', { name: "mcpgw", version: "9" })).toBe(
    '{"io.modelcontextprotocol/subscriptionId":"L","io.modelcontextprotocol/serverInfo":{"name":"mcpgw","version":"9"}}',
  );
});
