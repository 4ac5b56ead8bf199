import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { everything, fake, Place, start } from "../support/daemon.ts";
import { linesOf } from "../support/seen.ts";
import { until } from "../support/until.ts";
import { pick, request } from "../support/wire.ts";

// What happened, as the audit log, metering, metrics and tail report it: the same numbers everywhere.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = {
  servers: [fake("fake"), fake("other")],
  limits: { perTool: [{ server: "other", tool: "*", perMinute: 1 }] },
  policies: [
    everything(),
    { id: "own", roles: ["own"], rules: [{ tool: "fake:echo", when: { "args.mine": { eq: true } }, action: "allow" }] },
  ],
};

/** The calls: by which consumer, with what arguments, and how often. */
const done: readonly (readonly [who: "alice" | "bob", tool: string, args: object, times: number])[] = [
  ["alice", "fake__echo", { n: 1 }, 5],
  ["alice", "fake__fail", {}, 2],
  ["alice", "fake__strict", { n: "wrong" }, 1],
  ["alice", "fake__gone", {}, 1],
  ["alice", "other__echo", {}, 3],
  ["bob", "fake__echo", { mine: true }, 4],
  ["bob", "fake__echo", { mine: false }, 3],
];

/** Starts a daemon and makes exactly these calls. */
async function busy() {
  const started = new Date(Date.now() - 1000).toISOString();
  await using running = new AsyncDisposableStack();
  const daemon = running.use(await start(config));
  const keys = { alice: await daemon.place.key("alice"), bob: await daemon.place.key("bob", "own") };
  for (const [who, tool, args, times] of done) {
    for (let i = 0; i < times; i++) await daemon.call(tool, args, keys[who]);
  }
  await daemon.post(request("tools/list"), { key: keys.bob });
  await daemon.post(request("tools/list"), { key: "mgw_live_wrong" });
  running.move();
  return Object.assign(daemon, { started, keys });
}

// Tests that call or stop a daemon have their own.
let daemon: Awaited<ReturnType<typeof busy>>;
beforeAll(async () => {
  daemon = await busy();
});
afterAll(() => daemon[Symbol.asyncDispose]());

type Line = { name: string; calls: number; errors: number; denied: number };
const usage = async (...args: string[]): Promise<Line[]> =>
  ((await daemon.place.json("usage", ...args)) as { rows: Line[] }).rows;
const brief = (rows: readonly Line[]) =>
  Object.fromEntries(rows.map(({ name, calls, errors, denied }) => [name, [calls, errors, denied]]));
/** Waits for the metering, which follows the durable log at its own pace. */
const metered = () =>
  until(async () => (await usage()).reduce((sum, { calls }) => sum + calls, 0) === 19, "all of it is metered");

test("R13, R26, R127: usage per consumer, server and tool counts calls, errors and denials", async () => {
  await metered();
  expect(brief(await usage())).toEqual({ alice: [12, 3, 3], bob: [7, 0, 3] });
  expect(brief(await usage("--by", "server"))).toMatchObject({ fake: [15, 3, 3], other: [3, 0, 2] });
  expect(brief(await usage("--by", "tool"))).toMatchObject({
    "fake:echo": [12, 0, 3],
    "fake:fail": [2, 2, 0],
    "fake:strict": [1, 1, 0],
    "other:echo": [3, 0, 2],
    "(unknown)": [1, 0, 1],
  });
  for (const by of ["day", "hour"]) {
    expect((await usage("--by", by)).reduce((sum, { calls }) => sum + calls, 0)).toBe(19);
  }
  expect(brief(await usage("bob", "--by", "tool"))).toEqual({ "fake:echo": [7, 0, 3] });
  expect(await usage("--since", "1m")).not.toEqual([]);
  expect(await usage("--until", "2000-01-01")).toEqual([]);
  expect((await daemon.place.cli(["usage", "--csv"])).stdout).toStartWith(
    "name,calls,errors,denied,latencySumUs,bytesIn,bytesOut\nalice,12,3,3,",
  );
});

test("R99, R116: metrics report the same numbers under their known names", async () => {
  const { text, headers } = await daemon.get("/metrics");
  expect(headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
  for (const line of [
    'mcp_gateway_tools_called{tool="echo",proxy="fake"} 12',
    'mcp_gateway_tools_call_success{tool="echo",proxy="fake"} 9',
    'mcp_gateway_tools_call_errors{tool="echo",proxy="fake"} 3',
    'mcp_gateway_tools_call_errors{tool="fail",proxy="fake"} 2',
    'mcp_gateway_requests_total{method="tools/call",status="ok"} 10',
    'mcp_gateway_requests_total{method="tools/call",status="denied"} 4',
    "mcp_gateway_list_tools 1",
    "# HELP mcp_gateway_rate_limited_total Calls refused by a rate limit.",
    "mcp_gateway_rate_limited_total 2",
    "mcp_gateway_auth_failures_total 1",
    "mcp_gateway_active_servers 2",
    'mcp_gateway_request_duration_ms_count{proxy="fake"} 15',
    'mcp_gateway_request_duration_ms_count{proxy="other"} 3',
    'mcp_gateway_request_duration_ms_bucket{proxy="fake",le="+Inf"} 15',
    'mcpgw_server_ok{server="fake"} 1',
    "mcpgw_config_ok 1",
    "mcpgw_audit_ok 1",
    "mcpgw_audit_checkpoint_ok 1",
  ]) {
    expect(text.split("\n")).toContain(line);
  }
  expect(text).toMatch(/^mcpgw_audit_checkpoint_age_seconds \d+$/m);
  expect(text).toMatch(/^mcpgw_audit_checkpoint_behind_records \d+$/m);
  for (const line of text.trimEnd().split("\n")) {
    expect(line).toMatch(/^(# (HELP|TYPE) \S+ .+|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [-+.e\d]+)$/i);
  }
});

test("R8, R11, R25: the log can be searched by consumer, server, tool, status and time, and counted", async () => {
  type Found = { records: { consumer: string; status: string; tool: string; server: string }[] };
  const log = async (...args: string[]): Promise<Found["records"]> =>
    ((await daemon.place.json("audit", "log", "--limit", "1000", ...args)) as Found).records;
  await until(async () => (await log("--status", "success")).length === 10, "all of it is indexed");
  await metered();
  expect(await log("--consumer", "bob", "--status", "denied")).toHaveLength(3);
  expect(await log("--status", "rate-limited")).toHaveLength(2);
  expect(await log("--type", "call.end", "--server", "fake", "--tool", "fail")).toHaveLength(2);
  expect(await log("--type", "call.end", "--since", daemon.started)).toHaveLength(12);
  expect(await log("--until", daemon.started)).toEqual([]);
  expect(await log("--type", "auth.failed")).toHaveLength(1);
  type Stats = Record<"consumers" | "servers" | "tools", Line[]> & { byStatus: Record<string, number> };
  const stats = (await daemon.place.json("audit", "stats")) as Stats;
  // Usage omits what no consumer did.
  expect(brief(stats.consumers)).toEqual({ ...brief(await usage()), "(none)": [1, 0, 1] });
  expect(brief(stats.tools)).toEqual({ ...brief(await usage("--by", "tool")), "(none)": [1, 0, 1] });
  const sum = (all: readonly number[]): number => all.reduce((total, calls) => total + calls, 0);
  for (const lines of [stats.consumers, stats.servers, stats.tools])
    expect(sum(lines.map(({ calls }) => calls))).toBe(sum(Object.values(stats.byStatus)));
  expect(stats).toMatchObject({
    byStatus: { ok: 10, rpc_error: 2, invalid: 1, denied: 4, rate_limited: 2 },
    byType: { "call.begin": 12, "call.end": 12, "call.refused": 7 },
  });
  expect((await daemon.place.cli(["audit", "log", "--status", "nonsense"])).code).toBe(2);
});

test("R8, R62, R92: a record says who, what, when, with what, and the outcome; reading payloads must be requested and is recorded", async () => {
  const { place } = daemon;
  const all = await place.records();
  const begin = all.find(({ type, consumer }) => type === "call.begin" && consumer === "bob");
  const end = all.find(({ type, call }) => type === "call.end" && call === begin?.call);
  expect(begin).toMatchObject({
    method: "tools/call",
    srv: "fake",
    tool: "echo",
    subj: expect.stringContaining("key:"),
    roles: ["own"],
    rule: "own[0]",
    al: 13,
  });
  expect(end).toMatchObject({ st: "ok", ref: begin?.seq, us: expect.any(Number), rl: expect.any(Number) });
  const shown = await place.cli(["audit", "show", String(begin?.seq), "--json"]);
  expect(JSON.parse(shown.stdout)).toMatchObject({ entry: { consumer: "bob", tool: "echo" }, payloads: null });
  const full = await place.cli(["audit", "show", String(begin?.seq), "--payloads", "--json"]);
  expect(JSON.parse(full.stdout)).toMatchObject({ payloads: [{ part: "args", body: '{"mine":true}' }] });
  expect((await place.records()).map(({ type }) => type).filter((type) => type.startsWith("admin."))).toHaveLength(1);
});

test("R123: tail shows calls as they end, and earlier ones with --since; filters apply", async () => {
  await using own = await busy();
  const { place, keys, started } = own;
  await using child = place.spawn(["tail", "--json", "--consumer", "bob", "--since", started]);
  const lines: { type: string; consumer: string; tool: string; status: string }[] = [];
  const read = (async () => {
    for await (const line of linesOf(child.stdout)) lines.push(JSON.parse(line) as (typeof lines)[number]);
  })();
  await until(() => lines.length === 7, "the past is shown");
  await own.call("fake__echo", { mine: true, live: 1 }, keys.bob);
  await own.call("fake__echo", { n: 2 }, keys.alice);
  await own.call("fake__echo", { mine: 0 }, keys.bob);
  await until(() => lines.length === 9, "what happens is shown");
  expect(lines.slice(-2)).toMatchObject([
    { type: "call.end", consumer: "bob", tool: "echo", status: "ok" },
    { type: "call.refused", consumer: "bob", status: "denied" },
  ]);
  child.kill("SIGINT");
  await child.exited;
  await read;
  expect(lines.every(({ consumer }) => consumer === "bob")).toBe(true);
});

test("R9, R39: an export verifies without the gateway; a changed line is named; external checkpoints prove it", async () => {
  await using own = await busy();
  const { place } = own;
  // A Unicode line break does not end a line of JSON.
  await own.call("fake__a\u2028b", {}, own.keys.alice);
  const file = join(place.dir, "export.jsonl");
  expect((await place.cli(["audit", "export", "--jsonl", "--out", file])).code).toBe(0);
  const verify = async (path: string, ...args: string[]) => {
    const ran = await place.cli(["audit", "verify", "--jsonl", path, "--json", ...args]);
    return { code: ran.code, bad: pick(JSON.parse(ran.stdout || "{}"), "chains.0.bad") };
  };
  expect(await verify(file)).toEqual({ code: 3, bad: null });
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  const at = lines.findIndex((line, index) => index >= 9 && line.includes('"consumer":"alice"'));
  const edited = lines.map((line, index) =>
    index === at ? line.replace('"consumer":"alice"', '"consumer":"mallory"') : line,
  );
  const cases = {
    edited,
    dropped: lines.toSpliced(at, 1),
    swapped: lines.with(at, lines[at + 1] ?? "").with(at + 1, lines[at] ?? ""),
  };
  for (const [name, changed] of Object.entries(cases)) {
    writeFileSync(join(place.dir, name), changed.join("\n"));
    const { code, bad } = await verify(join(place.dir, name));
    expect([name, code]).toEqual([name, 1]);
    expect(pick(bad, "seq")).toBeWithin(at + 1, at + 3);
  }
  writeFileSync(join(place.dir, "garbage"), "no record\n");
  expect((await verify(join(place.dir, "garbage"))).code).toBe(2);
  expect((await place.cli(["audit", "export", "--out", file])).code).toBe(2);
  await own.stop();
  const rest = join(place.dir, "rest.jsonl");
  await place.cli(["audit", "export", "--out", rest]);
  const install = pick(await place.json("audit", "verify"), "chains.0.checkpoint.source") as string;
  const kept = ["--checkpoint", install, "--pubkey", join(install, "../signing.pub")];
  expect(await verify(rest, ...kept)).toEqual({ code: 0, bad: null });
  const [beside, given] = ["it is stored on this host", "it proves only as much as the place where it was kept"];
  for (const [says, not, ...args] of [
    [beside, given],
    [given, beside, ...kept],
    [given, beside, "--jsonl", rest, ...kept],
  ] as const) {
    const { stdout } = await place.cli(["audit", "verify", ...args]);
    expect([args, stdout]).toEqual([args, expect.stringContaining(says)]);
    expect([args, stdout]).toEqual([args, expect.not.stringContaining(not)]);
  }
  const cut = readFileSync(rest, "utf8").trimEnd().split("\n").slice(0, 20);
  writeFileSync(join(place.dir, "cut"), cut.join("\n"));
  expect((await verify(join(place.dir, "cut"))).code).toBe(3);
  expect((await verify(join(place.dir, "cut"), ...kept)).code).toBe(1);
  expect((await verify(rest, ...kept.slice(0, 2))).code).toBe(2);
  const unreadable = join(place.dir, "kept.sock");
  Bun.listen({ unix: unreadable, socket: { data() {} } }).unref();
  expect(await place.cli(["audit", "verify", "--checkpoint", unreadable])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`--checkpoint: ${unreadable} cannot be read (ENXIO`),
  });
});

test("R9: an export from a later time verifies as a part: exit 3, with where it begins", async () => {
  const { place } = daemon;
  const file = join(place.dir, "later.jsonl");
  const whole = join(place.dir, "whole.jsonl");
  expect((await place.cli(["audit", "export", "--out", whole])).code).toBe(0);
  const since = JSON.parse(readFileSync(whole, "utf8").split("\n")[9] ?? "").rec.t as string;
  expect((await place.cli(["audit", "export", "--since", since, "--out", file])).code).toBe(0);
  const first = (JSON.parse(readFileSync(file, "utf8").split("\n")[0] ?? "") as { seq: number }).seq;
  expect(first).toBeWithin(2, 11);
  const ran = await place.cli(["audit", "verify", "--jsonl", file]);
  expect(ran).toMatchObject({ code: 3, stdout: expect.stringContaining(`begins at record ${first}:`) });
});

test("R9: audit verify reads its standard input even if external checkpoints are configured", async () => {
  using place = new Place({ servers: [], policies: [], audit: { checkpoints: [{ file: "kept.cp" }] } });
  await place.key("alice");
  // As an operator runs it, without what the program sets for itself.
  place.prefix = ["env", "-u", "UV_THREADPOOL_SIZE", "sh", "-c", 'cat "$0" | "$@"', join(place.dir, "kept.cp")];
  expect(await place.cli(["audit", "verify", "--checkpoint", "/dev/stdin"])).toMatchObject({ code: 0 });
});
