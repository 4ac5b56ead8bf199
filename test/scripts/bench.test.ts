import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { answer } from "../../scripts/lib/bench/answer.ts";
import { type Running, start } from "../../scripts/lib/bench/children.ts";
import { callOf, check } from "../../scripts/lib/bench/gateway.ts";
import { goals, type Measured } from "../../scripts/lib/bench/goals.ts";
import { pickLoad } from "../../scripts/lib/bench/load.ts";
import type { Row } from "../../scripts/lib/bench/matrix.ts";
import { measurePipe } from "../../scripts/lib/bench/pipe.ts";
import { table } from "../../scripts/lib/bench/report.ts";
import { median, medians } from "../../scripts/lib/bench/stats.ts";

let upstream: Running;
let url = "";

beforeAll(async () => {
  const program = join(import.meta.dir, "../../scripts/lib/bench/upstream-http.ts");
  const started = start({ command: [process.execPath, program], stdout: "pipe" });
  upstream = started;
  url = `http://127.0.0.1:${await started.firstLine}/mcp`;
});
afterAll(() => upstream.stop());

for (const [name, load] of [
  ["own generator", pickLoad(true)],
  ["wrk (needs wrk)", pickLoad(false)],
] as const) {
  test.skipIf(load.name !== name.split(" (")[0])(`load by ${name}`, async () => {
    const good = await load.run(callOf(url, "echo"), 4, 1);
    expect(good.errors).toBe(0);
    expect(good.rate).toBeGreaterThan(0);
    expect(good.p50).toBeGreaterThan(0);
    expect(good.p99).toBeGreaterThanOrEqual(good.p50);
  });
}

test("the generator counts answers that are not successful", async () => {
  const refusing = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("no", { status: 503 }) });
  const { errors, rate } = await pickLoad(true).run(callOf(`http://127.0.0.1:${refusing.port}/`, "echo"), 1, 0.1);
  await refusing.stop(true);
  expect(rate).toBeGreaterThan(0);
  expect(errors).toBeGreaterThan(0);
});

test("a call is checked before it is measured", async () => {
  await check(callOf(url, "echo"));
  const refusal = { result: { isError: true, content: [{ type: "text", text: "pong" }] } };
  const refusing = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => Response.json(refusal) });
  const refused = check(callOf(`http://127.0.0.1:${refusing.port}/`, "echo"));
  expect(await refused.catch(String)).toContain("fails: HTTP 200");
  await refusing.stop(true);
});

test("the bare relay forwards calls", async () => {
  const program = join(import.meta.dir, "../../scripts/lib/bench/relay.ts");
  const relay = start({ command: [process.execPath, program, url], stdout: "pipe" });
  await check(callOf(`http://127.0.0.1:${await relay.firstLine}/mcp`, "echo"));
  await relay.stop();
});

test("the stdio upstream answers every caller", async () => {
  const { rate, errors } = await measurePipe(8, 0.1);
  expect(rate).toBeGreaterThan(0);
  expect(errors).toBe(0);
});

test("the upstream speaks just enough MCP", () => {
  const ask = (message: object): unknown =>
    JSON.parse(answer(JSON.stringify({ jsonrpc: "2.0", ...message })) ?? "null");
  const params = { protocolVersion: "2025-11-25" };
  expect(ask({ id: "a", method: "initialize", params })).toMatchObject({ id: "a", result: params });
  expect(ask({ id: 2, method: "tools/list" })).toMatchObject({
    result: { tools: [{ name: "echo" }, { name: "echo_steps" }] },
  });
  expect(ask({ id: 3, method: "server/discover" })).toMatchObject({ error: { code: -32601 } });
  expect(ask({ method: "notifications/initialized" })).toBeNull();
});

test("the median of several runs is the middle one, or the mean of the middle two; their errors are added up", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeNaN();
  const sample = (rate: number, errors: number) => ({ rate, p50: rate, p99: rate, errors });
  expect(medians([sample(1, 1), sample(9, 0), sample(2, 1)])).toEqual({ rate: 2, p50: 2, p99: 2, errors: 2 });
});

const row = (way: Row["way"], callers: number, rate: number, p50: number): Row => ({
  upstream: "HTTP",
  way,
  callers,
  rate,
  p50,
  p99: 10,
  errors: 0,
});

const measured: Measured = {
  matrix: {
    rows: [
      row("direct", 1, 1, 0.1),
      row("nginx", 64, 1000, 1),
      row("strict", 64, 299, 1),
      row("relaxed", 64, 420, 1),
      row("strict", 1, 1, 0.6),
      row("relaxed", 1, 1, 0.3),
    ],
    memory: [{ way: "strict", idle: 79, loaded: 200 }],
    nginx: true,
  },
  startup: { versionMs: 10, readyMs: 301, idleMiB: null },
  flatness: [{ what: "keys", smallUs: 10, largeUs: 11.2, ratio: 1.12 }],
  protocol: { sessionKiB: 11, listMs: 51, progressUs: 50 },
  syncMs: 0.2,
  invalid: null,
};

const verdicts = (of: Measured): Record<string, boolean | null> =>
  Object.fromEntries(goals(of).map(({ name, met }) => [name, met]));

test("each goal is judged by its own bound", () => {
  expect(verdicts(measured)).toEqual({
    "throughput relative to nginx, strict, 64 callers": false,
    "throughput relative to nginx, relaxed, 64 callers": true,
    "p99, strict, 64 callers": true,
    "p99, relaxed, 64 callers": true,
    "added p50, relaxed, 1 caller": false,
    "added p50, strict, 1 caller": true,
    "idle memory, strict": true,
    "idle memory, no servers": null,
    "ready, no servers": false,
    "mcpgw --version": true,
    "an idle legacy session, out of 10,000": true,
    "listing 10,000 tools of 50 servers, p99": false,
    "added by each of 1,000 progress notifications": true,
    "cost per call, keys": false,
  });
});

test("an invalid run or a missing nginx gives no verdict on speed", () => {
  const invalid = verdicts({ ...measured, invalid: "why" });
  expect(Object.values(invalid).filter((met) => met === null)).toHaveLength(7);
  const rows = measured.matrix.rows.filter(({ way }) => way !== "nginx");
  const alone = verdicts({ ...measured, matrix: { ...measured.matrix, rows, nginx: false } });
  expect(alone["throughput relative to nginx, strict, 64 callers"]).toBeNull();
  expect(alone["p99, strict, 64 callers"]).toBe(true);
});

test("table columns are aligned", () => {
  expect(
    table(
      ["a", "b", "n"],
      [
        ["long", "x", "1"],
        ["s", "yy", "100"],
      ],
    ),
  ).toBe("a     b     n\nlong  x     1\ns     yy  100");
});
