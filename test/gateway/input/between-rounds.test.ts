import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { maxQuestions } from "../../../src/mcp/input-round.ts";
import { progressNotification } from "../../../src/mcp/reply.ts";
import { principal } from "../../support/principal.ts";
import { until } from "../../support/until.ts";
import { textIn } from "../../support/wire.ts";
import { writtenLog } from "../../support/written-log.ts";
import { asksMeanwhile, call, form, kinds, never, retry, type Round } from "../ask.ts";
import { type Asking, harness, type Harness, ok, type Options, send, steps, types } from "../support.ts";

// What happens between rounds to a call, to its place and to its questions.

const declares: Asking = { capabilities: { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} } };
const accept = '{"action":"accept","content":{}}';
const roots = kinds.roots?.request ?? form;

const first = async (h: Harness, asking = declares): Promise<Round> =>
  (await send(h.gw, "tools/call", call, asking)).result as unknown as Round;

test("a waiting caller gets a result of any size, also after a round", async () => {
  const text = "y".repeat(300_000);
  const h = harness({
    async script(running) {
      await running.input?.(form, never);
      return ok(`{"content":[{"type":"text","text":"${text}"}]}`);
    },
  });
  const { result } = await retry(h, await first(h), accept, declares);
  expect(textIn(result)).toBe(text);
});

test("a result kept for an absent caller is dropped when the caller's key is revoked", async () => {
  const ended = Promise.withResolvers<void>();
  const h = harness({
    async script(running) {
      void running.input?.(form, never);
      await ended.promise;
      return ok();
    },
  });
  const who = principal("key:carol", ["reader"]);
  await first(h, { ...declares, who });
  ended.resolve();
  await until(() => types(h.records).includes("call.end"), "its end to be recorded");
  expect(h.gw.parking.size).toBe(1);
  who.revoke();
  await until(() => h.gw.parking.size === 0, "its place is given back");
});

test("a caller that comes back while the end of its call is recorded is answered after the recording", async () => {
  const [ended, ending, recorded] = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
  const h = harness({
    async script(running) {
      void running.input?.(form, never);
      await ended?.promise;
      return ok();
    },
  });
  const { end } = h.gw.audit;
  const late: typeof end = (each) => (ending?.resolve(), Promise.resolve(recorded?.promise).then(() => end(each)));
  Object.assign(h.gw.audit, { end: late });
  const round = await first(h);
  ended?.resolve();
  await ending?.promise;
  const answered = retry(h, round, accept, declares).then(() => types(h.records).at(-1));
  const waiting = new Promise((resolve) => setImmediate(resolve, "waits"));
  expect(await Promise.race([answered, waiting])).toBe("waits");
  recorded?.resolve();
  expect(await answered).toBe("call.end");
});

test("a kept result does not hold the longer message of which it is a part in memory", async () => {
  const ended = Promise.withResolvers<void>();
  const h = harness({
    async script(running) {
      void running.input?.(form, never);
      await ended.promise;
      const answer = `{"content":[{"type":"text","text":"what it came to in the end"}]}`;
      return ok(
        Buffer.alloc(8 * 2 ** 20, answer)
          .toString()
          .slice(0, answer.length),
      );
    },
  });
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const before = heap();
  for (let at = 0; at < 8; at++) await first(h);
  ended.resolve();
  await until(() => types(h.records).filter((type) => type === "call.end").length === 8, "their ends to be recorded");
  h.records.length = 0;
  expect(h.gw.parking.size).toBe(8);
  expect(heap() - before).toBeLessThan(16 * 2 ** 20);
});

test("a question that comes while the caller is away takes no second place and is asked in the next round", async () => {
  const more = Promise.withResolvers<void>();
  const h = harness({
    async script(running) {
      const one = running.input?.(form, never);
      await more.promise;
      await running.input?.(roots, never);
      await one;
      return ok();
    },
  });
  const round = await first(h);
  more.resolve();
  await until(() => steps(h.records).includes("asked roots/list"), "the second question");
  expect(h.gw.parking.size).toBe(1);
  const next = (await retry(h, round, accept, declares)).result;
  expect(Object.values((next as unknown as Round).inputRequests).map(({ method }) => method)).toEqual(["roots/list"]);
  expect((await retry(h, next, '{"roots":[]}', declares)).result).toMatchObject({ resultType: "complete" });
  expect(h.gw.parking.size).toBe(0);
});

test("progress reaches the waiting request under that request's token", async () => {
  const h = harness({
    async script(running) {
      await running.input?.(form, never);
      running.emit?.(progressNotification('"first"', '{"progress":1}'));
      await running.input?.(form, never);
      running.emit?.(progressNotification('"first"', '{"progress":2}'));
      return ok();
    },
  });
  const seen: string[] = [];
  const emit = (text: string): void => void seen.push(text);
  const under = (progressToken: string) => ({ ...call, _meta: { progressToken } });
  const begun = await send(h.gw, "tools/call", under("first"), { ...declares, emit });
  const next = await retry(h, begun.result, accept, { ...declares, emit }, under("second"));
  await retry(h, next.result, accept, { ...declares, emit });
  expect(seen.map((text) => JSON.parse(text).params)).toEqual([{ progressToken: "second", progress: 1 }]);
});

test("a question reaches its caller without the server's progress token for the gateway", async () => {
  const params = '{"mode":"form","message":"?","requestedSchema":{"type":"object"},"_meta":{"progressToken":1,"a":2}}';
  const h = harness({ script: asksMeanwhile({ ...form, params }) });
  const [asked] = Object.values((await first(h)).inputRequests);
  expect(asked?.params).toHaveProperty("_meta", { a: 2 });
});

test("a question without a place to wait counts as refused, and is not asked later when there is room", async () => {
  const refusals: (string | undefined)[] = [];
  const refused = Promise.withResolvers<void>();
  const room = Promise.withResolvers<void>();
  const h = harness({
    parking: { total: 1, perOwner: 1, weight: 9_999, ageMs: 60_000 },
    async script(running) {
      if (running.inbound.idText === "1") return asksMeanwhile(form)(running);
      refusals.push((await running.input?.(form, never))?.text);
      refused.resolve();
      await room.promise;
      await running.input?.(roots, never);
      return ok();
    },
  });
  const round = await first(h);
  const second = send(h.gw, "tools/call", call, { ...declares, id: "2" });
  await refused.promise;
  expect(steps(h.records)).toEqual([
    "asked elicitation/create",
    "asked elicitation/create",
    "refused elicitation/create",
  ]);
  // The record of a refusal contains the question.
  expect(h.records.flatMap(({ step }) => (step?.outcome === "refused" ? [step.request] : []))).toEqual([form]);
  expect(h.gw.parking.refused).toBe(1);
  await retry(h, round, accept, { ...declares, id: "3" });
  room.resolve();
  const { inputRequests } = (await second).result as unknown as Round;
  expect(Object.values(inputRequests).map(({ method }) => method)).toEqual(["roots/list"]);
  expect(refusals).toEqual([expect.stringContaining("Too many calls are waiting")]);
});

test("a question above the maximum per call is refused, and recorded before the server gets the refusal", async () => {
  const records: number[] = [];
  const h = harness({
    async script(running) {
      const asked = Array.from({ length: maxQuestions }, async () => running.input?.(form, never));
      const beyond = await running.input?.(form, never);
      records.push(steps(h.records).filter((step) => step.startsWith("refused")).length);
      await Promise.all(asked);
      return ok(JSON.stringify({ content: [{ text: beyond?.text }] }));
    },
  });
  const round = await first(h);
  expect(Object.keys(round.inputRequests)).toHaveLength(maxQuestions);
  expect([records, h.gw.parking.refused]).toEqual([[1], 1]);
  expect(textIn((await retry(h, round, accept, declares)).result)).toContain("can wait for its caller");
});

test("a question whose refusal cannot be recorded is still refused, without saying whether the call ran", async () => {
  const long = { ...form, params: JSON.stringify({ message: "x".repeat(1024 ** 2) }) };
  for (const asked of [long, { method: "sampling/createMessage", params: "{}" } as const]) {
    const h = harness({ script: asksMeanwhile(asked), denies: ["crm sampling/createMessage"] });
    h.failing.on = "refused";
    const { result } = await send(h.gw, "tools/call", call, declares);
    expect(result.resultType).toBe("complete");
    expect(JSON.parse(textIn(result))).toEqual({ code: -32603, message: "No log." });
    expect(steps(h.records)).toEqual([]);
  }
});

test("a withdrawn question gives back its room", async () => {
  const more = Promise.withResolvers<void>();
  const told: (string | undefined)[] = [];
  const large = { ...form, params: JSON.stringify({ message: "x".repeat(600) }) };
  const h = harness({
    parking: { total: 9, perOwner: 9, weight: 1_300, ageMs: 60_000 },
    async script(running) {
      const one = running.input?.(form, never);
      await more.promise;
      for (let round = 0; round < 3; round++) {
        const withdrawn = new AbortController();
        const answer = running.input?.(large, withdrawn.signal);
        await until(() => steps(h.records).length === round + 2, "it is recorded");
        withdrawn.abort();
        told.push((await answer)?.text);
      }
      await one;
      return ok();
    },
  });
  const round = await first(h);
  more.resolve();
  await until(() => told.length === 3, "all are taken back");
  expect(told).toEqual(Array.from({ length: 3 }, () => expect.stringContaining("has ended")));
  expect((await retry(h, round, accept, declares)).result).toMatchObject({ resultType: "complete" });
});

test("kept results take room, and a result without room is replaced by the report that the call did run", async () => {
  const text = "y".repeat(10_000);
  const h = harness({
    // One caller's calls may use half of it.
    parking: { total: 9, perOwner: 9, weight: 50_000, ageMs: 60_000 },
    async script(running) {
      void running.input?.(form, never);
      await until(() => h.gw.parking.size === Number(running.inbound.idText), "its place");
      return ok(JSON.stringify({ content: [{ type: "text", text }] }));
    },
  });
  const rounds: Round[] = [];
  for (const id of ["1", "2", "3"]) {
    rounds.push((await send(h.gw, "tools/call", call, { ...declares, id })).result as unknown as Round);
    await until(() => h.records.filter(({ type }) => type === "call.end").length === rounds.length, "its end");
  }
  const told: unknown[] = [];
  for (const round of rounds) told.push(textIn((await retry(h, round, accept, declares)).result));
  expect(told).toEqual([text, text, expect.stringContaining("The call did run.")]);
});

test("a question that is withdrawn while it is recorded is not asked", async () => {
  const h = harness({
    async script(running) {
      const withdrawn = new AbortController();
      const answer = running.input?.(form, withdrawn.signal);
      withdrawn.abort();
      return ok(JSON.stringify({ content: [{ text: (await answer)?.kind }] }));
    },
  });
  const { result } = await send(h.gw, "tools/call", call, declares);
  expect([result.resultType, textIn(result)]).toEqual(["complete", "error"]);
  expect(h.gw.parking.size).toBe(0);
});

test("a question whose call ends while it is recorded or asked is answered with that, and takes no place", async () => {
  const told: unknown[] = [];
  const go = Promise.withResolvers<void>();
  const h = harness({
    script(running) {
      for (let i = 0; i < 2; i++) void running.input?.(form, never).then(({ text }) => told.push(text));
      return go.promise.then(() => ok());
    },
  });
  const { input } = h.gw.audit;
  let recorded = 0;
  const late = Promise.withResolvers<void>();
  Object.assign(h.gw.audit, {
    input: (...given: Parameters<typeof input>) => (++recorded === 2 ? late.promise : input(...given)),
  });
  const ending = send(h.gw, "tools/call", call, declares);
  await until(() => recorded === 2, "both are recorded");
  go.resolve();
  expect((await ending).result.resultType).toBe("complete");
  late.resolve();
  await until(() => told.length === 2, "both are answered");
  expect(told).toEqual([expect.stringContaining("has ended"), expect.stringContaining("has ended")]);
});

test("a question is refused if the request of the round does not declare its kind, though an earlier did", async () => {
  const h = harness({ script: asksMeanwhile(roots, form) });
  const round = await first(h);
  const { result } = await retry(h, round, '{"roots":[]}', { capabilities: { roots: {} } });
  expect(JSON.parse(textIn(result))).toMatchObject({
    code: -32601,
    message: expect.stringContaining("did not declare"),
  });
  expect(steps(h.records).slice(-2)).toEqual(["asked elicitation/create", "refused elicitation/create"]);
  expect([h.gw.parking.size, h.gw.parking.refused]).toEqual([0, 0]);
});

test("R6: a question that a reload forbids is not asked again when the caller comes back without an answer", async () => {
  const h = harness({ script: asksMeanwhile(form) });
  const { requestState } = await first(h);
  const admitsInput = () => ({ allowed: false, rule: "no-forms", reason: "not any more" });
  const policy = { ...h.gw.policy, admitsInput };
  h.inForce.policy = policy;
  const back = { ...call, requestState, inputResponses: {} };
  const { result } = await send({ ...h.gw, policy }, "tools/call", back, declares);
  expect(JSON.parse(textIn(result))).toMatchObject({ code: -1, message: expect.stringContaining("by rule no-forms") });
  expect(h.records.map(({ type, step }) => [type, step?.outcome, step?.rule])).toEqual([
    ["call.begin", undefined, undefined],
    ["call.input", "asked", null],
    ["call.input", "refused", "no-forms"],
    ["call.end", undefined, undefined],
  ]);
});

test("the questions of a parked call count by their length", async () => {
  const large = { ...form, params: JSON.stringify({ message: "x".repeat(600) }) };
  for (const [weight, outcome] of [
    [2_000, "input_required"],
    [600, "complete"],
  ] as const) {
    const parking = { total: 9, perOwner: 9, weight, ageMs: 60_000 };
    const h = harness({ parking, script: asksMeanwhile(large) });
    expect((await send(h.gw, "tools/call", call, declares)).result.resultType).toBe(outcome);
  }
});

test("a method without rounds is not answered with a round", async () => {
  const servers: Options["servers"] = {
    crm: { prompts: [{ name: "greet", text: '{"name":"greet"}' }], capabilities: { prompts: {}, completions: {} } },
  };
  const h = harness({ servers, script: asksMeanwhile(form) });
  const ref = { type: "ref/prompt", name: "crm__greet" };
  const params = { ref, argument: { name: "n", value: "" } };
  const { result } = await send(h.gw, "completion/complete", params, declares);
  expect(result.resultType).not.toBe("input_required");
  expect(JSON.parse(textIn(result))).toMatchObject({ code: -32603 });
  expect(h.gw.parking.size).toBe(0);
});

test("a question is not asked if the check of it fails, and its call goes on", async () => {
  const h = harness({ script: asksMeanwhile(form) });
  const { lines, log } = writtenLog();
  Object.assign(h.gw, { log });
  const { admitsInput } = h.gw.policy;
  let asked = 0;
  Object.assign(h.gw.policy, {
    admitsInput(...of: Parameters<typeof admitsInput>) {
      // Checked once when it arrives, and once before it is sent.
      if (++asked === 2) throw new Error("the rules failed");
      return admitsInput(...of);
    },
  });
  const { result } = await send(h.gw, "tools/call", call, declares);
  expect([asked, result.resultType]).toEqual([2, "complete"]);
  expect(lines.join()).toInclude("the rules failed");
});
