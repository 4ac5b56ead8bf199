import { expect, test } from "bun:test";
import { CallMetrics } from "../../src/gateway/metrics.ts";
import { makeCall, makeRoute } from "../support/call.ts";

test("a counted tool keeps its own name, even after more tools came than are counted separately", () => {
  const metrics = new CallMetrics();
  const called = (name: string) => metrics.count(Object.assign(makeCall(), { route: makeRoute("crm", name) }));
  for (let at = 0; at < 5_002; at++) called(`t${at}`);
  // With another route, as after a change of the server.
  called("t0");
  const lines = metrics.render().match(/^mcp_gateway_tools_called\{tool="(?:t0|t5000|other)".*$/gm);
  expect(lines).toEqual([
    'mcp_gateway_tools_called{tool="t0",proxy="crm"} 2',
    'mcp_gateway_tools_called{tool="other",proxy="other"} 2',
  ]);
});

test("T58: a tool's name can neither forge a line of the metrics nor hide text in one", () => {
  const metrics = new CallMetrics();
  const names = ['a"} 1\nb 2', "\u001b[2J\r\u009b", "get\u202e\u200ball", "back\\slash"];
  for (const name of names) metrics.count(Object.assign(makeCall(), { route: makeRoute("crm", name) }));
  const text = metrics.render();
  expect(text).toMatch(/^[\n -~]*$/);
  const called = text.match(/^mcp_gateway_tools_called\{.*$/gm);
  expect(called?.map((line) => /tool="(.*)",proxy="crm"\} 1$/.exec(line)?.[1])).toEqual([
    'a\\"} 1\\\\u{a}b 2',
    "\\\\u{1b}[2J\\\\u{d}\\\\u{9b}",
    "get\\\\u{202e}\\\\u{200b}all",
    "back\\\\slash",
  ]);
});

test("R99 durations of calls are in milliseconds, and the buckets are cumulative", () => {
  const metrics = new CallMetrics();
  for (const took of [900, 5_000, 5_001, 70_000_000])
    metrics.count(Object.assign(makeCall(), { route: makeRoute("crm", "get"), took }));
  const lines = metrics.render().match(/^mcp_gateway_request_duration_ms_\w+\{proxy="crm".*$/gm) ?? [];
  const values = lines.map((line) => line.replace(/^mcp_gateway_request_duration_ms_|proxy="crm",?/g, ""));
  expect(values.slice(0, 4)).toEqual(['bucket{le="1"} 1', 'bucket{le="2"} 1', 'bucket{le="5"} 2', 'bucket{le="10"} 3']);
  expect(values.slice(-4)).toEqual(['bucket{le="60000"} 3', 'bucket{le="+Inf"} 4', "sum{} 70010.901", "count{} 4"]);
});
