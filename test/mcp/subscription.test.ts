import { expect, test } from "bun:test";
import { underToken } from "../../src/mcp/reply.ts";
import { subscribed, subscriptionMeta } from "../../src/mcp/subscription.ts";

test("S20: a notification carries the id of the request that listens, as it was written", () => {
  for (const id of ["1", '"1"', "9007199254740993", '"\\u00e9"']) {
    const meta = `"_meta":{"io.modelcontextprotocol/subscriptionId":${id}}`;
    expect(subscribed("n", null, id)).toBe(`{"jsonrpc":"2.0","method":"n","params":{${meta}}}`);
    expect(subscribed("n", '{"uri":"a:b","n":1.10}', id)).toBe(
      `{"jsonrpc":"2.0","method":"n","params":{"uri":"a:b","n":1.10,${meta}}}`,
    );
  }
});

test("a server cannot speak for another subscription", () => {
  const forged = '{"_meta":{"io.modelcontextprotocol/subscriptionId":"theirs","com.acme/x":1}}';
  expect(subscribed("n", forged, "7")).toBe(
    '{"jsonrpc":"2.0","method":"n","params":{"_meta":{"com.acme/x":1,"io.modelcontextprotocol/subscriptionId":7}}}',
  );
});

test("the end of a subscription says which and whose", () => {
  expect(subscriptionMeta('"L"', { name: "mcpgw", version: "9" })).toBe(
    '{"io.modelcontextprotocol/subscriptionId":"L","io.modelcontextprotocol/serverInfo":{"name":"mcpgw","version":"9"}}',
  );
});

test("progress of a call under the token of each of its requests, logs where they are wanted, those of extensions as they came", () => {
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
