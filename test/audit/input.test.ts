import { expect, test } from "bun:test";
import { lostDraft } from "../../src/audit/draft.ts";
import { readRecord } from "../../src/audit/record.ts";
import { sessionName } from "../../src/audit/session-name.ts";
import type { ClientSession } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import type { InputStep } from "../../src/core/ports.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { principal } from "../support/principal.ts";
import { answered, callOf, failed, handClock, openBroker, type TempState, openLog } from "../support/audit.ts";

function pages(at: TempState, types = "call.") {
  using reader = openReader({ state: at.state, main: null });
  const rows = reader.page("main", 1, 100).map(({ rec }) => readRecord(rec));
  const bodies = rows.map(({ seq }) => reader.payloads("main", seq).map(({ part, body }) => `${part} ${body}`));
  return rows
    .map((record, index) => ({ ...record, bodies: bodies[index] }))
    .filter(({ type }) => type.startsWith(types));
}

const request = { method: "elicitation/create", params: '{"message":"Your token?"}' } as const;
const asked: InputStep = { request, outcome: "asked", answer: null, rule: null };
const accepted: InputStep = {
  request,
  outcome: "accept",
  answer: '{"action":"accept","content":{"n":1.10}}',
  rule: null,
};

test("D6 a question and its answer are recorded between begin and end, as commitments", async () => {
  await using opened = await openLog();
  const call = callOf();
  await opened.broker.begin(call);
  await opened.broker.input(call, asked);
  await opened.broker.input(call, accepted);
  const refused = { ...asked, outcome: "refused", rule: "no-questions", reason: "not here", of: "earlier" } as const;
  await opened.broker.input(call, refused);
  await opened.broker.end(answered(call));
  const [begin, question, answer, refusal, end] = pages(opened);
  expect(question).toMatchObject({
    type: "call.input",
    call: call.id,
    consumer: "agent",
    srv: "crm",
    tool: "query",
    method: "tools/call",
    ref: begin?.seq as number,
    facts: { asks: "elicitation/create", outcome: "asked" },
    al: request.params.length,
    bodies: [`args ${request.params}`],
  });
  expect(question?.ad).toMatch(/^[\w+/=-]+$/);
  expect(answer).toMatchObject({
    ref: begin?.seq as number,
    facts: { asks: "elicitation/create", outcome: "accept" },
    rl: accepted.answer?.length as number,
    bodies: [`result ${accepted.answer}`],
  });
  expect(answer?.rd).toMatch(/^[\w+/=-]+$/);
  expect(refusal).toMatchObject({
    rule: "no-questions",
    reason: "not here",
    facts: { outcome: "refused", of: "earlier" },
  });
  expect(end).toMatchObject({ type: "call.end", ref: begin?.seq as number });
});

test("S34 no record of a question contains a known secret", async () => {
  await using opened = await openLog({}, { secrets: () => ["hunter2-hunter2"] });
  const call = callOf();
  await opened.broker.begin(call);
  const answer = '{"action":"accept","content":{"password":"hunter2-hunter2"}}';
  await opened.broker.input(call, { ...accepted, answer });
  await opened.broker.input(call, { ...asked, outcome: "refused", reason: "No hunter2-hunter2." });
  await opened.broker.end(answered(call));
  expect(JSON.stringify(pages(opened))).not.toContain("hunter2");
});

test("D6 a question that cannot be recorded is withheld", async () => {
  await using opened = await openLog();
  const call = callOf();
  await opened.broker.begin(call);
  opened.faulty.full = new StoreFailed("disk full");
  const failure = await opened.broker.input(call, asked).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(Failure);
  expect((failure as Failure).code).toBe("audit-unavailable");
  // Questions and answers come in the middle of a call.
  expect((failure as Failure).message).toMatch(/withheld. The call may have run: check before you repeat it.$/);
  opened.faulty.full = null;
});

test("a call with an open question when the process died is recorded as lost, not as ended", async () => {
  await using opened = await openLog();
  const call = callOf();
  await opened.broker.begin(call);
  await opened.broker.input(call, asked);
  await opened.close();
  await using again = await openBroker(opened);
  await again.broker.flush();
  expect(pages(opened).map(({ type, st }) => [type, st])).toEqual([
    ["call.begin", undefined],
    ["call.input", undefined],
    ["call.lost", "lost"],
  ]);
});

test("a subscription has one record, however it ends", async () => {
  const clock = handClock();
  await using opened = await openLog({}, { clock });
  const facts = { opens: "subscription", resources: 2 };
  for (const code of [null, "cancelled", "unauthenticated"] as const) {
    const call = callOf();
    clock.advance(2_000);
    await opened.broker.once(call, facts);
    expect(call.recordedOnce).toBe(true);
    await opened.broker.end(code === null ? answered(call) : failed(call, new Failure(code, "x")));
    expect(call.status).toBe("ok");
  }
  const records = pages(opened);
  expect(records.map(({ type, st }) => [type, st])).toEqual([
    ["call.end", "ok"],
    ["call.end", "ok"],
    ["call.end", "ok"],
  ]);
  for (const { us } of records) expect(us).toBeGreaterThanOrEqual(2_000);
  expect(records[0]).toMatchObject({ facts, subj: "key:agent-1", rule: "reader-policy#1", srv: "crm" });
  expect(records[0]?.ref).toBeUndefined();
});

test("the type of a call's result is recorded if it is not complete", async () => {
  await using opened = await openLog();
  const call = callOf();
  await opened.broker.begin(call);
  call.reply = { kind: "result", era: "modern", text: "{}", isError: false, type: "input_required" };
  await opened.broker.end(call);
  expect(pages(opened)[1]).toMatchObject({ type: "call.end", st: "ok", code: "input_required" });
});

test("R117: every record of a call contains the caller's trace id", async () => {
  await using opened = await openLog();
  const call = callOf();
  const trace = "0af7651916cd43dd8448eb211c80319c";
  Object.assign(call.inbound, { params: { _meta: { traceparent: `00-${trace}-00f067aa0ba902b7-01` } } });
  await opened.broker.begin(call);
  await opened.broker.end(answered(call));
  expect(pages(opened).map((record) => record.trace)).toEqual([trace, trace]);
  const [begin] = pages(opened);
  const { fields } = lostDraft({ rec: JSON.stringify(begin), seq: 1 }, { at: 0, mono: 0 });
  expect([fields.type, fields.trace]).toEqual(["call.lost", trace]);
});

test("D6 a question to a session outside of any call, and its answer, are recorded with the session's principal", async () => {
  await using opened = await openLog();
  const call = callOf();
  const session = { id: "secret-of-the-session" } as ClientSession;
  const to = { who: principal("key:agent"), source: call.source, session, ask: () => Promise.reject(new Error()) };
  await opened.broker.inputOutside(to, "crm", asked);
  await opened.broker.inputOutside(to, "crm", { ...accepted, rule: "r" });
  const of = { type: "session.input", caller: "agent", subj: "key:agent", srv: "crm", sess: sessionName(session) };
  const [question, answer] = pages(opened, "session.");
  expect(question).toMatchObject({
    ...of,
    facts: { asks: "elicitation/create", outcome: "asked" },
    al: request.params.length,
    bodies: [`args ${request.params}`],
  });
  expect(answer).toMatchObject({ ...of, facts: { outcome: "accept" }, bodies: [`result ${accepted.answer}`] });
  expect(JSON.stringify([question, answer])).not.toContain(session.id);
});
