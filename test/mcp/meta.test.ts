import { expect, test } from "bun:test";
import { withoutOwnKeys } from "../../src/mcp/meta.ts";

test.each([
  ['{"content":[],"_meta":{"mcpgw.dev/limit":{"code":"x"},"n":1.10}}', '{"content":[],"_meta":{"n":1.10}}'],
  ['{"_meta":{"mcpgw\\u002edev/x":1}, "content":[ ]}', '{"_meta":{}, "content":[ ]}'],
  ['{"_meta":{"mcpgw.dev\\/x":1,"a\\/b":2}}', '{"_meta":{"a\\/b":2}}'],
  [
    '{"taskId":"1","result":{"content":[],"_meta":{"a":1,"mcpgw.dev/omitted":[1]}},"_meta":{"mcpgw.dev/limit":1}}',
    '{"taskId":"1","result":{"content":[],"_meta":{"a":1}},"_meta":{}}',
  ],
])("the gateway's own _meta keys are removed from a server's result: %s", (given, left) =>
  expect(withoutOwnKeys(given)).toBe(left),
);

test.each([
  '{"content":[{"type":"text","text":"mcpgw.dev/limit \\u00e9"}],"_meta":{"x":"mcpgw.dev/"}}',
  '{"_meta":"mcpgw.dev/","result":"mcpgw.dev/"}',
  '{ "content":[], "_meta":{"io.example/mcpgw.dev/x":1.0} }',
])("any other result is returned unchanged: %s", (text) => expect(withoutOwnKeys(text)).toBe(text));
