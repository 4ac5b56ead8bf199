import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { type Daemon, everything, fake, Place, start, strongKey } from "../support/daemon.ts";
import { until } from "../support/until.ts";
import { serveFake } from "../support/upstream.ts";
import { type Answer, modern, pick, textOf } from "../support/wire.ts";

// What a caller is told when the gateway or a server refuses: one test per case of the refusals table.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const never = strongKey();

const config = {
  limits: {
    inFlight: { perPrincipal: 2 },
    perTool: [{ server: "fake", tool: "count", perMinute: 1, burst: 1 }],
  },
  auth: {
    type: "api-key",
    keys: [{ id: "never", key: never, consumerId: "never", roles: ["user"], rateLimit: 0 }],
  },
  servers: [
    fake("fake", [], { timeout: "1s" }),
    fake("slow", [], { timeout: "30s", isolation: "shared" }),
    fake("dead", ["--mode", "crash-at-start"]),
    fake("gone", [], { command: "no-such-program-anywhere", args: [] }),
  ],
  rules: [
    {
      id: "no-force",
      priority: 100,
      server: "slow",
      tool: "e*",
      when: { "args.force": { eq: true } },
      action: "deny",
      reason: "nothing is forced",
    },
    { id: "no-crash", priority: 50, server: "slow", tool: "crash", action: "deny" },
    { id: "ends-guardrails", priority: 0, tool: "env", action: "allow" },
  ],
  policies: [
    everything(),
    {
      id: "guest",
      roles: ["guest"],
      rules: [
        {
          id: "own-customer",
          server: "fake",
          tool: "echo",
          when: { "args.customer": { eq: "${principal.consumerId}" } },
          action: "allow",
        },
        {
          id: "no-bulk",
          server: "fake",
          tool: "big",
          when: { "args.size": { gt: 10 } },
          action: "deny",
          reason: "ten is enough",
        },
        { server: "fake", tool: "big", action: "allow" },
      ],
    },
  ],
};

let daemon: Daemon;
let key: string;
let guest: string;

beforeAll(async () => {
  daemon = await start(config);
  key = await daemon.place.key("alice");
  guest = await daemon.place.key("guest", "guest");
});
afterAll(() => daemon[Symbol.asyncDispose]());

/** Returns the record of a call by its JSON-RPC id: the refusal or the end. */
async function recordOf(id: string) {
  const records = await daemon.place.records();
  const first = records.find(({ rpc }) => rpc === JSON.stringify(id));
  return records.find(({ type, call }) => type !== "call.begin" && call === first?.call);
}

function expectToolError(answer: Answer, ...words: string[]): void {
  expect(answer.status).toBe(200);
  expect(answer.json).toMatchObject({ result: { isError: true, content: [{ type: "text" }] } });
  for (const word of words) expect(textOf(answer.json)).toContain(word);
}

test("FIELD T6 R6, R35: denied arguments give an isError result with the rule and what to change", async () => {
  const denied = await daemon.call("fake__echo", { customer: "bob" }, guest, "r6");
  expectToolError(denied, "no rule allows it", "args.customer", '"guest"');
  expect(await recordOf("r6")).toMatchObject({
    type: "call.refused",
    st: "denied",
    consumer: "guest",
    srv: "fake",
    tool: "echo",
  });
  // A condition on a missing argument does not satisfy an allow rule.
  expectToolError(await daemon.call("fake__echo", {}, guest), "args.customer");
  expect((await daemon.call("fake__echo", { customer: "guest" }, guest)).json).toMatchObject({ result: {} });
});

test("R6: a denial names the rule, its reason and the condition, and cannot be evaded by omitting the argument", async () => {
  for (const [id, args] of Object.entries({ "big-1": { size: 11 }, "big-2": {}, "big-3": { size: "11" } })) {
    expectToolError(await daemon.call("fake__big", args, guest, id), "no-bulk", "ten is enough", "args.size");
    expect(await recordOf(id)).toMatchObject({
      st: "denied",
      rule: "no-bulk",
      pol: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  }
  expect((await daemon.call("fake__big", { size: 3 }, guest)).json).toMatchObject({
    result: { content: [{ text: "xxx" }] },
  });
});

test("R36: a reached limit gives Retry-After, isError and the gateway's own _meta, in both eras", async () => {
  expect((await daemon.call("fake__count", {}, key)).json).not.toMatchObject({ result: { isError: true } });
  const legacy = await daemon.call("fake__count", {}, key, "r36");
  const { body, headers } = modern("tools/call", { name: "fake__count", arguments: {} });
  const later = await daemon.post(body, { key, headers });
  for (const answer of [legacy, later]) {
    expectToolError(answer, "fake:count", "try again in");
    expect(Number(answer.headers.get("retry-after"))).toBeWithin(30, 61);
    const limit = { code: "rate-limited", retryAfterMs: expect.any(Number) };
    expect(answer.json).toMatchObject({ result: { _meta: { "mcpgw.dev/limit": limit } } });
  }
  expect(pick(later.json, "result.resultType")).toBe("complete");
  expect(await recordOf("r36")).toMatchObject({ type: "call.refused", st: "rate_limited" });
  expect(daemon.place.calls("fake").filter((name) => name === "count")).toHaveLength(1);
});

test("R3: a key whose own rate is 0 can call nothing, and other keys are not affected", async () => {
  expectToolError(await daemon.call("fake__echo", {}, never), "allows no calls");
  expect((await daemon.call("fake__echo", {}, key)).json).not.toMatchObject({ result: { isError: true } });
});

test("overload gives 503, Retry-After and retryable; it ends when the calls end", async () => {
  const aborts = [new AbortController(), new AbortController()];
  const hung = aborts.map(({ signal }, id) => {
    const { body, headers } = modern("tools/call", { name: "slow__hang", arguments: {} }, { id });
    return daemon.post(body, { key, headers, signal }).catch(() => null);
  });
  const arrived = () => daemon.place.calls("slow").filter((name) => name === "hang").length;
  await until(() => arrived() === 2, "both calls arrived");
  const refused = await daemon.call("fake__echo", {}, key, "overload");
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(refused.json).toMatchObject({ id: "overload", error: { code: -32603, data: { retryable: true } } });
  expect(await recordOf("overload")).toMatchObject({ type: "call.refused", st: "unavailable" });
  // Other callers have their own slots.
  expect((await daemon.call("fake__echo", { customer: "guest" }, guest)).status).toBe(200);
  for (const abort of aborts) abort.abort();
  await Promise.all(hung);
  await until(async () => (await daemon.call("fake__echo", {}, key)).status === 200, "the places are free again");
});

test("R18, R61, R110: if a server does not answer in time, the call may have run, and its record says timeout", async () => {
  const before = performance.now();
  const answer = await daemon.call("fake__hang", {}, key, "r18");
  expect(performance.now() - before).toBeGreaterThan(950);
  expectToolError(answer, '"fake"', "1s", "may have run");
  expect(await recordOf("r18")).toMatchObject({ type: "call.end", st: "timeout" });
});

test("R86, R110: each HTTP server has its own address, timeout and switch", async () => {
  await using server = await serveFake(["--http"]);
  const web = (id: string, more: object) => ({ id, url: server.url, protocol: "legacy", ...more });
  const servers = [web("hasty", { timeout: 1 }), web("patient", { timeout: 60 }), web("off", { enabled: false })];
  await using own = await start({ servers, policies: [everything()] });
  const { place } = own;
  const alice = await place.key("alice");
  const go = place.path("go");
  const [hasty, patient] = ["hasty", "patient"].map((id) => own.call(`${id}__slow`, { ms: 0, file: go }, alice));
  expectToolError((await hasty)!, '"hasty"', "1s", "may have run");
  writeFileSync(go, "");
  expect(textOf((await patient)!.json)).toContain(go);
  expect(pick((await own.call("off__echo", {}, alice)).json, "error.code")).toBe(-32602);
});

test("T10, R61: if a server crashes during a call, only its own caller is told soon that it may have run", async () => {
  const own = await daemon.place.key("crasher");
  const answer = await daemon.call("fake__crash", {}, own, "t10");
  expectToolError(answer, '"fake"', "code 7", "may have run");
  expect(await recordOf("t10")).toMatchObject({ type: "call.end", st: "lost" });
  expect((await daemon.call("slow__count", {}, key)).json).not.toMatchObject({ result: { isError: true } });
});

test("R61: a tool's own errors are forwarded unchanged", async () => {
  const answer = await daemon.call("slow__fail", {}, key, "own");
  expect(answer.json).toMatchObject({ id: "own", error: { code: -32602, message: "no such thing" } });
  expect(await recordOf("own")).toMatchObject({ type: "call.end", st: "rpc_error" });
});

test("R24, T11: servers that cannot start hide their tools and give the reason; the others are listed and serve", async () => {
  const list = await daemon.post({ jsonrpc: "2.0", id: 1, method: "tools/list" }, { key });
  const names = (pick(list.json, "result.tools") as { name: string }[]).map(({ name }) => name.split("__")[0]);
  expect([...new Set(names)]).toEqual(["fake", "slow"]);
  type Listed = { servers: { id: string; reason: string | null }[] };
  const reason = async (of: string) =>
    ((await daemon.place.json("servers", "list")) as Listed).servers.find(({ id }) => id === of)?.reason;
  expect(await reason("dead")).toContain("code 3");
  expect(await reason("gone")).toContain("cannot be started");
  expectToolError(await daemon.call("dead__echo", {}, key), 'The server "dead" is not available', "did not run");
  expect(pick((await daemon.call("dead__echo", {}, guest)).json, "error.message")).toBe("Unknown tool: dead__echo");
});

test("R4, R84: a guardrail is above every role: its denial is final, its allow grants nothing", async () => {
  expectToolError(await daemon.call("slow__echo", { force: true }, key, "r84"), "no-force", "nothing is forced");
  expect(await recordOf("r84")).toMatchObject({ st: "denied", rule: "no-force" });
  expect((await daemon.call("slow__echo", { force: false }, key, "f")).json).not.toMatchObject({
    result: { isError: true },
  });
  // A tool that no arguments would make callable is hidden.
  expect(pick((await daemon.call("slow__crash", {}, key)).json, "error.code")).toBe(-32602);
  expect(pick((await daemon.call("slow__env", {}, guest)).json, "error.code")).toBe(-32602);
  expect(daemon.place.calls("slow")).not.toContain("crash");
});

test("R36: no instance for another caller is overload: 503, Retry-After, retryable, recorded as unavailable", async () => {
  await using small = await start({ servers: [fake("fake", [], { maxInstances: 1 })], policies: [everything()] });
  const first = await small.place.key("alice");
  const second = await small.place.key("bob");
  await small.call("fake__echo", {}, first);
  const { body, headers } = modern("tools/call", { name: "fake__echo", arguments: {} });
  for (const answer of [await small.call("fake__echo", {}, second), await small.post(body, { key: second, headers })]) {
    expect(answer.status).toBe(503);
    expect(Number(answer.headers.get("retry-after"))).toBeWithin(50, 61);
    const error = { code: -32603, message: expect.stringContaining("did not run"), data: { retryable: true } };
    expect(answer.json).toMatchObject({ error });
  }
  const ends = (await small.place.records()).filter(({ type }) => type === "call.end").map(({ st }) => st);
  expect(ends).toEqual(["ok", "unavailable", "unavailable"]);
});

test("R29, R36: status lists every kind of limit, and warns only if there is none", async () => {
  using place = new Place({ limits: { perTool: [{ tool: "query_*", perMinute: 5 }] } });
  await using daemon = await place.start();
  const limits = async () => pick(await place.json("status"), "limits");
  const warned = async () => JSON.stringify(pick(await place.json("status"), "warnings")).includes("not limited");
  expect([await limits(), await warned()]).toEqual(["1 in limits.perTool", false]);
  await place.json("keys", "create", "A", "agent", "user", "--rate", "7/h");
  expect((await place.cli(["keys", "list"])).stdout).toContain(" 7/h ");
  place.configure({ limits: { perMinute: "5/h", burst: 50 } });
  await place.json("config", "reload");
  const all = "5 calls an hour per consumer, bursts of 50, rateLimit of 1 key";
  expect([await limits(), await warned()]).toEqual([all, false]);
  const { keys } = (await place.json("keys", "list")) as { keys: { id: string }[] };
  await place.json("keys", "revoke", String(keys[0]?.id));
  place.configure({});
  await place.json("config", "reload");
  expect([await limits(), await warned()]).toEqual(["none", true]);
  expect(daemon.exited).toBe(false);
});
