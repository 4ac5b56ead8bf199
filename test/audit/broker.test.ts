import { expect, setSystemTime, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { auditOptions } from "../../src/audit/options.ts";
import type { Fields } from "../../src/audit/record.ts";
import { Failure } from "../../src/core/failure.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { until } from "../support/until.ts";
import {
  answered,
  arriving,
  callOf,
  failed,
  openBroker,
  recordsOf,
  runCall,
  tempState,
  callsIn,
  openLog,
} from "../support/audit.ts";

test("R8 R62 a call leaves its intent and its outcome, with all members of the record format", async () => {
  await using opened = await openLog();
  const call = await runCall(opened.broker, { args: '{"id":7}' }, '{"content":[1]}');
  expect(call.begun).toBe(true);
  const [begin, end] = callsIn(opened);
  const identity = {
    call: call.id,
    caller: "agent-1",
    consumer: "agent",
    method: "tools/call",
    srv: "crm",
    tool: "query",
  };
  expect(begin).toMatchObject({
    ...identity,
    type: "call.begin",
    subj: "key:agent-1",
    roles: ["reader"],
    src: "http:127.0.0.1",
    rpc: "1",
    pol: "ab".repeat(32),
    rule: "reader-policy#1",
    reason: "allowed by reader-policy",
    sbx: "none",
    al: 8,
    seq: 1,
  } satisfies Partial<Fields> & { seq: number });
  expect(end).toMatchObject({ ...identity, type: "call.end", st: "ok", us: 1500, al: 8, rl: 15, ref: 1, seq: 2 });
  using reader = openReader({ state: opened.state, main: null });
  expect(reader.payloads("main", 1).map(({ body }) => body)).toEqual(['{"id":7}']);
  expect(reader.payloads("main", 2).map(({ body }) => body)).toEqual(['{"content":[1]}']);
});

const endings: [string, Failure | "tool_error" | "rpc_error", object][] = [
  ["a timeout", new Failure("timeout", "too slow"), { st: "timeout", code: "timeout", reason: "too slow" }],
  ["an unforeseen error", new Failure("internal", "no", { internal: "boom" }), { st: "error", cause: "boom" }],
  ["a tool's own error", "tool_error", { st: "tool_error" }],
  ["an upstream's error", "rpc_error", { st: "rpc_error", code: "-32000" }],
];
for (const [name, ending, wanted] of endings) {
  test(`R8 a call that ends with ${name} is recorded so`, async () => {
    await using opened = await openLog();
    const call = callOf();
    await opened.broker.begin(call);
    if (ending instanceof Failure) failed(call, ending);
    else if (ending === "tool_error")
      call.reply = { kind: "result", era: "modern", text: "{}", isError: true, type: null };
    else call.reply = { kind: "error", era: "modern", text: "{}", code: -32_000 };
    await opened.broker.end(call);
    expect(callsIn(opened)[1]).toMatchObject({ type: "call.end", ...wanted });
  });
}

test("R7 R8 a refusal is one record with the rule and the arguments", async () => {
  await using opened = await openLog();
  const call = failed(callOf({ args: '{"x":1}' }), new Failure("denied", "not yours", { rule: "no-drop" }));
  call.verdict = null;
  await opened.broker.end(call);
  expect(callsIn(opened)).toHaveLength(1);
  expect(callsIn(opened)[0]).toMatchObject({
    type: "call.refused",
    st: "denied",
    rule: "no-drop",
    reason: "not yours",
    al: 7,
  });
});

test("a request that neither began nor failed leaves no record, nor does a failure without a principal", async () => {
  await using opened = await openLog();
  await opened.broker.end(answered(callOf()));
  await opened.broker.end(failed(arriving(), new Failure("parse-error", "no JSON")));
  await opened.broker.recordEvent({
    type: "key.rebuilt",
    actor: "system",
    facts: { revoked: 1.5, frozen: true, lost: 0 },
  });
  const facts = { revoked: "1.5", frozen: true, lost: 0 };
  expect(recordsOf(opened)).toMatchObject([{ type: "key.rebuilt", caller: "system", facts }]);
});

test("R17 known secrets reach no record, not even in error messages", async () => {
  await using opened = await openLog({}, { secrets: () => ["hunter2hunter2"] });
  const call = callOf({ args: '{"p":"hunter2hunter2"}' });
  await opened.broker.begin(call);
  await opened.broker.end(failed(call, new Failure("internal", "hunter2hunter2", { internal: "hunter2hunter2" })));
  await opened.broker.recordEvent({
    type: "server.crashed",
    actor: "a",
    facts: { server: "s", reason: "hunter2hunter2" },
  });
  await opened.broker.checkpoint();
  for (const suffix of ["", "-wal"]) expect(readFileSync(opened.db() + suffix).includes("hunter2")).toBe(false);
});

test("untrusted texts are cut", async () => {
  await using opened = await openLog();
  const call = callOf();
  call.route = null;
  call.target = "x".repeat(100_000);
  await opened.broker.end(failed(call, new Failure("unknown-tool", "y".repeat(100_000))));
  expect(JSON.stringify(callsIn(opened)[0]).length).toBeLessThan(2000);
});

test("a reload changes what is stored from then on, and the chain continues", async () => {
  await using opened = await openLog();
  await runCall(opened.broker);
  opened.broker.configure(auditOptions.parse({ payloads: "none" }));
  await runCall(opened.broker);
  const [, , begin] = callsIn(opened);
  expect(begin).toMatchObject({ seq: 3, pay: "none", al: 8 });
  expect(begin?.ad).toBeUndefined();
  expect(opened.broker.health()).toMatchObject({ payloads: "none", durability: "strict" });
});

test("T09 a clock step is recorded, and the order of records does not depend on it", async () => {
  await using opened = await openLog();
  try {
    await runCall(opened.broker);
    setSystemTime(new Date(Date.now() - 3_600_000));
    await runCall(opened.broker);
    const step = await until(() => recordsOf(opened).find(({ type }) => type === "clock.step"), "clock.step");
    expect(Number(step.facts?.["us"])).toBeLessThan(-3_590_000_000);
  } finally {
    setSystemTime();
    await opened.close();
  }
  const seqs = recordsOf(opened).map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.map((_, index) => index + 1));
});

test("R9 checkpoints and the head note are written outside, cover all durable records, and do not trigger each other", async () => {
  using at = tempState();
  const file = join(at.root, "elsewhere", "notes");
  const opened = await openBroker(at, { checkpoints: [{ file }] });
  for (let i = 0; i < 3; i += 1) await runCall(opened.broker);
  await until(() => opened.broker.durable() === 6, "durable");
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpoint).toMatchObject({ source: file, size: 6 });
  await until(() => opened.broker.durable() === 7, "the checkpoint's record");
  await opened.broker.checkpoint();
  await opened.close();
  expect(recordsOf(at).at(-1)).toMatchObject({ type: "checkpoint", facts: { size: 6, from: 0 } });
  expect(readFileSync(file, "utf8").match(/^mcpgw\//gm)).toHaveLength(1);
  const again = await openBroker(at);
  await again.close();
  expect(recordsOf(at)).toHaveLength(7);
});
