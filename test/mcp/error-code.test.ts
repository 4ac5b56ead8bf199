import { expect, test } from "bun:test";
import type { Era } from "../../src/core/inbound.ts";
import { errorBetween } from "../../src/mcp/error-code.ts";

type Row = [from: Era, to: Era, uri: string | null, error: string, expected: string];

const same = (from: Era, to: Era, error: string, uri: string | null = null): Row => [from, to, uri, error, error];
const masked = (from: Era, to: Era, code: number): Row => [
  from,
  to,
  null,
  `{"code":${code},"message":"x","data":{"supported":[]}}`,
  '{"code":-32603,"message":"x"}',
];

const recoded = (from: Era, to: Era, code: number): Row => [
  from,
  to,
  null,
  `{"code":${code},"message":"x","data":{"n":1.10}}`,
  '{"code":-32603,"message":"x","data":{"n":1.10}}',
];

const rows: Row[] = [
  same("legacy", "legacy", '{"code": -32602,"message":"x","data":{"n":1.10}}'),
  same("modern", "modern", '{"code": -32602,"message":"x","data":{"n":1.10}}'),
  same("legacy", "modern", '{"code":7,"message":"x"}'),
  same("modern", "legacy", '{"code":7,"message":"x"}'),
  // A legacy server's own codes are passed on to legacy clients.
  same("legacy", "legacy", '{"code":-32000,"message":"x","data":1}'),
  same("legacy", "legacy", '{"code":-32042,"message":"x","data":{"elicitations":[]}}'),
  same("legacy", "legacy", '{"code":-32002,"message":"x"}'),
  // The gateway detects a lost session earlier; SDKs use this code for a request that timed out.
  same("legacy", "legacy", '{"code":-32001,"message":"Request timed out","data":{"timeout":1}}'),
  // Headers, capabilities and revisions belong to one hop.
  masked("legacy", "legacy", -32020),
  masked("legacy", "modern", -32042),
  // 2026-07-28 does not allow servers these codes; the rest of such an error is passed on.
  recoded("legacy", "modern", -32000),
  recoded("legacy", "modern", -32002),
  ...[-32000, -32001, -32005, -32050, -32099].flatMap((code) => [
    recoded("modern", "modern", code),
    recoded("modern", "legacy", code),
  ]),
  ...([-32020, -32021, -32022] as const).flatMap((code) => [
    masked("modern", "legacy", code),
    masked("modern", "modern", code),
  ]),
  masked("modern", "modern", -32042),
  ["legacy", "modern", "f:a", '{"message":"x","code":-32001}', '{"message":"x","code":-32603}'],
  // A missing resource has a different code in each era, and is named by its URI on the wire.
  ["legacy", "modern", "f:a", '{"code":-32002,"message":"x"}', '{"code":-32602,"message":"x","data":{"uri":"f:a"}}'],
  [
    "legacy",
    "modern",
    "gw:f:a",
    '{"code":-32002,"data":{"uri":"f:a","n":1.10},"message":"x"}',
    '{"code":-32602,"data":{"uri":"gw:f:a","n":1.10},"message":"x"}',
  ],
  [
    "modern",
    "legacy",
    "gw:f:a",
    '{"code":-32602,"message":"x","data":{"uri":"f:a"}}',
    '{"code":-32002,"message":"x","data":{"uri":"gw:f:a"}}',
  ],
  [
    "modern",
    "modern",
    "gw:f:a",
    '{"code":-32602,"message":"x","data":{"uri":"f:a"}}',
    '{"code":-32602,"message":"x","data":{"uri":"gw:f:a"}}',
  ],
  // Servers of the official 2.x library send this in both eras.
  ...(["legacy", "modern"] as const).map((to): Row => [
    "legacy",
    to,
    "gw:f:a",
    '{"code":-32602,"message":"x","data":{"uri":"f:a"}}',
    '{"code":-32602,"message":"x","data":{"uri":"gw:f:a"}}',
  ]),
  same("modern", "legacy", '{"code":-32602,"message":"bad cursor"}', "f:a"),
  same("modern", "legacy", '{"code":-32602,"message":"bad cursor","data":[1]}', "f:a"),
];

test.each(rows)("%s to %s, reading %p: %s", (from, to, uri, error, expected) => {
  expect(errorBetween(error, from, to, uri)).toBe(expected);
});
