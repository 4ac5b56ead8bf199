import { describe, expect, test } from "bun:test";
import type { Reply } from "../../../src/core/call.ts";
import { Failure } from "../../../src/core/failure.ts";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import { createLimits, createLimitsState } from "../../../src/limits/limits.ts";
import { limitsOptions } from "../../../src/limits/options.ts";
import { principal } from "../../support/principal.ts";
import { until } from "../../support/until.ts";
import { textIn } from "../../support/wire.ts";
import { asksAndWorks, asksMeanwhile, call, form, kinds, never, retry, type Round, untilCancelled } from "../ask.ts";
import { alice, type Asking, bob, harness, type Harness, ok, send, steps, types } from "../support.ts";

const declares: Asking = { capabilities: { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} } };
const accept = '{"action":"accept","content":{}}';
const sampling = kinds.sampling?.request ?? form;
const roots = kinds.roots?.request ?? form;

const first = async (h: Harness, asking: Asking = declares): Promise<Round> =>
  (await send(h.gw, "tools/call", call, asking)).result as unknown as Round;

/** Starts a call that asks a question; `end` ends it while its caller is away. */
async function endedAway(end: (ending: PromiseWithResolvers<Reply>) => void) {
  const ending = Promise.withResolvers<Reply>();
  const h = harness({
    script(running) {
      void running.input?.(form, never);
      return ending.promise;
    },
  });
  const round = await first(h);
  end(ending);
  await until(() => types(h.records).includes("call.end"), "its end to be recorded");
  return { h, round };
}

describe("a call that waits for its caller", () => {
  test("questions one after the other become rounds of one call", async () => {
    const h = harness({ script: asksMeanwhile(form, sampling, roots) });
    const opening = await send(h.gw, "tools/call", call, declares);
    expect(opening.call.reply).toMatchObject({ isError: false, type: "input_required" });
    let { result } = opening;
    for (const kind of ["form", "sampling", "roots"]) {
      expect(Object.values((result as unknown as Round).inputRequests).map(({ method }) => method)).toEqual([
        kinds[kind]?.request.method as never,
      ]);
      ({ result } = await retry(h, result, kinds[kind]?.answer ?? "", declares));
    }
    expect(textIn(result)).toBe(kinds.roots?.answer ?? "");
    expect(types(h.records)).toEqual(["call.begin", ...Array.from({ length: 6 }, () => "call.input"), "call.end"]);
    expect(new Set(h.records.map((each) => each.call)).size).toBe(1);
    expect(h.sent).toHaveLength(1);
  });

  test("concurrent questions become one round and are answered together", async () => {
    const h = harness({
      async script(running) {
        const all = [form, sampling, roots].map(async (each) => running.input?.(each, never));
        return ok(JSON.stringify({ content: (await Promise.all(all)).map((answer) => ({ text: answer?.text })) }));
      },
    });
    const round = await first(h);
    const keys = Object.keys(round.inputRequests);
    expect(keys).toHaveLength(3);
    const answers = ["form", "sampling", "roots"].map((kind) => kinds[kind]?.answer ?? "");
    const responses = keys.map((key, index) => `${JSON.stringify(key)}:${answers[index]}`).join(",");
    const text = `${JSON.stringify(call).slice(0, -1)},"inputResponses":{${responses}},"requestState":"${round.requestState}"}`;
    const { result } = await send(h.gw, "tools/call", text, declares);
    expect((result.content as { text: string }[]).map((each) => each.text)).toEqual(answers);
  });

  test("an unanswered question is asked again under the same key", async () => {
    const h = harness({
      async script(running) {
        await Promise.all([form, roots].map(async (each) => running.input?.(each, never)));
        return ok();
      },
    });
    const round = await first(h);
    const [one = "", two = ""] = Object.keys(round.inputRequests);
    const give = (state: string, responses: object) =>
      send(h.gw, "tools/call", { ...call, requestState: state, inputResponses: responses }, declares);
    const nothing = (await give(round.requestState, {})).result as unknown as Round;
    expect(Object.keys(nothing.inputRequests)).toEqual([one, two]);
    const half = (await give(nothing.requestState, { [one]: JSON.parse(accept) })).result as unknown as Round;
    expect(Object.keys(half.inputRequests)).toEqual([two]);
    expect((await give(half.requestState, { [two]: { roots: [] } })).result).toMatchObject({ resultType: "complete" });
  });

  test("an answer of another kind is refused and can be corrected", async () => {
    const h = harness({ script: asksMeanwhile(form) });
    const round = await first(h);
    for (const wrong of ['{"roots":[]}', '{"action":"maybe"}', "7", "null", "[]"]) {
      expect((await retry(h, round, wrong, declares)).error).toMatchObject({ code: -32602 });
    }
    expect((await retry(h, round, accept, declares)).error).toBeUndefined();
  });

  test("the id of a parked call works once", async () => {
    const h = harness({ script: asksMeanwhile(form, form) });
    const round = await first(h);
    const [a, b] = await Promise.all([retry(h, round, accept, declares), retry(h, round, accept, declares)]);
    expect([a, b].map(({ call: each }) => each.failure?.code ?? null)).toEqual([null, "lost"]);
    expect((await retry(h, a?.result, accept, declares)).result).toMatchObject({ resultType: "complete" });
    const used = await retry(h, a?.result, accept, declares);
    expect(used.call.failure?.code).toBe("lost");
    expect(textIn(used.result)).toContain("may have run");
    expect(h.sent).toHaveLength(1);
  });

  test("S24: only its owner can continue it, and others learn nothing from trying", async () => {
    const h = harness({ script: asksMeanwhile(form) });
    const round = await first(h);
    const foreign = await retry(h, round, accept, { ...declares, who: bob });
    const unknown = await retry(h, { ...round, requestState: "nonsense" }, accept, { ...declares, who: bob });
    expect(foreign.error).toEqual(unknown.error);
    expect((await retry(h, round, accept, declares)).error).toBeUndefined();
  });

  test("T20: each round is admitted like any request but takes no second token", async () => {
    const h = harness({ script: asksMeanwhile(form) });
    const round = await first(h);
    const admit = () => {
      throw new Failure("overloaded", "Too many.");
    };
    for (const full of [{ admit }, { carry: admit }]) {
      const gw = { ...h.gw, limits: { ...h.gw.limits, ...full } };
      expect((await retry({ ...h, gw }, round, accept, declares)).call.failure?.code).toBe("overloaded");
    }
    expect((await retry(h, round, accept, declares)).error).toBeUndefined();
    expect([h.taken.count, types(h.records).filter((type) => type === "call.begin").length]).toEqual([1, 1]);
  });

  test("T20: the first request counts as in progress during later rounds too", async () => {
    const h = harness({ script: asksAndWorks });
    const state = createLimitsState(h.clock);
    const limits = createLimits(limitsOptions.parse({}), h.clock, state);
    const limited = { ...h, gw: { ...h.gw, limits } };
    const text = "x".repeat(1_000_000);
    const large = { ...call, arguments: { ...call.arguments, text } };
    const round = (await send(limited.gw, "tools/call", large, declares)).result as unknown as Round;
    expect(state.weight.total).toBe(0);
    const cut = new AbortController();
    const running = retry(limited, round, accept, { ...declares, controller: cut }, large);
    await until(() => steps(h.records).includes("accept elicitation/create"), "the answer is handed in");
    expect(Math.floor(state.weight.of(alice.id) / text.length)).toBe(2);
    cut.abort();
    await running;
    expect([state.weight.total, state.inFlight.total]).toEqual([0, 0]);
  });

  test("a disconnect is ignored between rounds and cancels the call during a round", async () => {
    const h = harness({ script: asksAndWorks });
    const leaves = new AbortController();
    const round = await first(h, { ...declares, controller: leaves });
    leaves.abort();
    expect([h.gw.parking.size, h.records[0]?.call.controller.signal.aborted]).toEqual([1, false]);
    const again = new AbortController();
    const running = retry(h, round, accept, { ...declares, controller: again });
    await until(() => steps(h.records).includes("accept elicitation/create"), "the answer is handed in");
    again.abort();
    expect((await running).call.failure?.code).toBe("cancelled");
    expect(types(h.records)).toEqual(["call.begin", "call.input", "call.input", "call.end"]);
    expect(h.records.at(-1)?.call.status).toBe("cancelled");
  });

  test("a question that the server withdraws is dropped", async () => {
    const withdrawn = new AbortController();
    const h = harness({
      async script(running) {
        const lost = running.input?.(form, withdrawn.signal);
        const kept = running.input?.(roots, never);
        await lost;
        return ok(JSON.stringify({ content: [{ text: (await kept)?.text }] }));
      },
    });
    const round = await first(h);
    expect(Object.keys(round.inputRequests)).toHaveLength(2);
    withdrawn.abort();
    const { result } = await retry(h, round, '{"roots":[]}', declares, call).then((each) => each);
    expect(textIn(result)).toBe('{"roots":[]}');
    expect(steps(h.records)).toEqual(["asked elicitation/create", "asked roots/list", "accept roots/list"]);
  });

  test("the number of waiting questions is limited", async () => {
    const refusals: ClientAnswer[] = [];
    const h = harness({
      async script(running) {
        const all = Array.from({ length: 40 }, () => running.input?.(roots, never));
        for (const each of all) void each?.then((answer) => answer.kind === "error" && refusals.push(answer));
        await all[0];
        return ok();
      },
    });
    const round = await first(h);
    expect(Object.keys(round.inputRequests).length).toBeLessThanOrEqual(32);
    await retry(h, round, '{"roots":[]}', declares);
    expect(refusals.length).toBeGreaterThanOrEqual(8);
  });
});

describe("a call ends while its caller is away", () => {
  test("by itself: the result is recorded and kept for the retry", async () => {
    const { h, round } = await endedAway(({ resolve }) =>
      resolve(ok('{"content":[{"type":"text","text":"gave up asking"}]}')),
    );
    expect(textIn((await retry(h, round, accept, declares)).result)).toBe("gave up asking");
    expect(types(h.records).filter((type) => type === "call.end")).toHaveLength(1);
    expect(h.gw.parking.size).toBe(0);
  });

  test("with a large result: the retry only learns that it ran", async () => {
    const { h, round } = await endedAway(({ resolve }) => resolve(ok(`{"content":[],"x":"${"y".repeat(300_000)}"}`)));
    const { result } = await retry(h, round, accept, declares);
    expect(result.isError).toBe(true);
    expect(textIn(result)).toContain("did run");
  });

  test("with its server: the retry reads that it may have run", async () => {
    const { h, round } = await endedAway(({ reject }) =>
      reject(new Failure("lost", "The server went away. The call may have run.")),
    );
    const { result } = await retry(h, round, accept, declares);
    expect(textIn(result)).toContain("may have run");
  });

  test("when the caller does not come back in time: cancelled at the server, and recorded as lost", async () => {
    const h = harness({ script: asksAndWorks, parking: { total: 9, perOwner: 9, weight: 9_999, ageMs: 20 } });
    const round = await first(h);
    await until(() => types(h.records).includes("call.end"), "it expires");
    expect(h.records.at(-1)?.call.status).toBe("lost");
    expect(h.records.at(-1)?.call.failure?.message).toContain("may have run");
    expect(h.gw.parking.size).toBe(0);
    const { result } = await retry(h, round, accept, declares);
    expect(result.isError).toBe(true);
    expect(textIn(result)).toContain("may have run");
  });

  test("with its process: the retry reads that it may have run, and another caller learns nothing", async () => {
    const h = harness({ script: asksMeanwhile(form) });
    const round = await first(h);
    const next = harness({ script: asksMeanwhile(form) });
    const { result } = await retry(next, round, accept, declares);
    expect(result).toMatchObject({ isError: true, resultType: "complete" });
    expect(textIn(result)).toContain("lost when the gateway stopped. It may have run: check before");
    expect((await retry(next, round, accept, { ...declares, who: bob })).call.failure?.code).toBe("bad-state");
    expect(next.sent).toEqual([]);
    expect(next.records.map(({ type, call: each }) => [type, each.status])).toEqual([
      ["call.refused", "lost"],
      ["call.refused", "invalid"],
    ]);
  });

  test("with its caller's key", async () => {
    const who = principal("key:carol", ["reader"]);
    const h = harness({ script: asksAndWorks });
    await first(h, { ...declares, who });
    who.revoke();
    await until(() => types(h.records).includes("call.end"), "it ends");
    expect(h.records.at(-1)?.call.failure?.code).toBe("rights-lost");
    expect(h.gw.parking.size).toBe(0);
  });

  test("with the gateway, which then parks no more calls", async () => {
    const h = harness({
      async script(running) {
        const answer = await Promise.race([running.input?.(form, never), untilCancelled(running)]);
        return ok(JSON.stringify({ content: [answer] }));
      },
    });
    await first(h);
    await first(h);
    await h.gw.parking.close();
    expect(types(h.records).filter((type) => type === "call.end")).toHaveLength(2);
    expect(h.records.at(-1)?.call.status).toBe("lost");
    expect((await send(h.gw, "tools/call", call, declares)).result.resultType).toBe("complete");
  });
});

test("a call is answered even if counting its end fails", async () => {
  const h = harness({ script: asksMeanwhile(form) });
  const round = await first(h);
  const count = () => {
    throw new Error("no metrics");
  };
  Object.assign(h.gw, { metrics: { count } });
  const { error } = await retry(h, round, accept, declares);
  expect(error.code).toBe(-32603);
});

describe("places to wait", () => {
  test("T20: a question without room, or one that is too long, is refused", async () => {
    const more = Promise.withResolvers<void>();
    const refusals: string[] = [];
    const roomy = (length: number): InputRequest => ({
      ...form,
      params: JSON.stringify({ message: "x".repeat(length) }),
    });
    const h = harness({
      parking: { total: 9, perOwner: 9, weight: 3_000, ageMs: 60_000 },
      async script(running) {
        const asked = running.input?.(form, never);
        await more.promise;
        for (const length of [5_000, 2 * 1024 ** 2]) {
          refusals.push((await running.input?.(roomy(length), never))?.text ?? "");
        }
        void running.input?.(roomy(1_000), never);
        await asked;
        return ok();
      },
    });
    const round = await first(h);
    more.resolve();
    await until(
      () => steps(h.records).filter((step) => step === "asked elicitation/create").length === 3,
      "all of them",
    );
    expect(refusals).toEqual([
      expect.stringContaining("Too much data is waiting"),
      expect.stringContaining("1048576 characters"),
    ]);
    const reasons = h.records.flatMap(({ step }) => step?.reason ?? []);
    expect(reasons).toEqual(refusals.map((text) => (JSON.parse(text) as { message: string }).message));
    expect((await retry(h, round, accept, declares)).error).toBeUndefined();
  });

  test("if all are taken, the server gets an error and may end the call as it likes", async () => {
    const h = harness({
      script: asksMeanwhile(form),
      parking: { total: 1, perOwner: 1, weight: 9_999, ageMs: 60_000 },
    });
    await first(h);
    const { result } = await send(h.gw, "tools/call", call, declares);
    expect(result.resultType).toBe("complete");
    expect(JSON.parse(textIn(result))).toMatchObject({
      code: -32603,
      message: expect.stringContaining("Too many calls are waiting"),
    });
    expect(types(h.records).at(-1)).toBe("call.end");
  });
});

test("S20: concurrent callers with equal ids, tokens and questions get only their own answers", async () => {
  const h = harness({
    parking: { total: 200, perOwner: 4, weight: 99_999, ageMs: 60_000 },
    async script(running) {
      const { who } = running;
      const mark = running.inbound.params.arguments;
      const params = JSON.stringify({ message: who.id, mark });
      const answer = await running.input?.({ method: "elicitation/create", params }, never);
      return ok(JSON.stringify({ content: [{ text: JSON.stringify([who.id, mark, answer?.text]) }] }));
    },
  });
  const one = async (index: number): Promise<void> => {
    const who = principal(`key:caller-${index}`, ["reader"]);
    const mine = { name: "crm__get", arguments: { mark: index % 2 } };
    const asking: Asking = { ...declares, who, id: "1" };
    const round = (await send(h.gw, "tools/call", mine, asking)).result as unknown as Round;
    expect(Object.values(round.inputRequests)).toEqual([
      { method: "elicitation/create", params: { message: who.id, mark: mine.arguments } },
    ] as never);
    const given = JSON.stringify({ action: "accept", content: { from: who.id } });
    const { result } = await retry(h, round, given, asking, mine);
    expect(JSON.parse(textIn(result))).toEqual([who.id, mine.arguments, given]);
  };
  await Promise.all(Array.from({ length: 64 }, (_, index) => one(index)));
  expect(h.gw.parking.size).toBe(0);
});

test("any number and grouping of questions has one begin, one end and one answer for each", async () => {
  const groups: InputRequest[][] = [[form], [roots, sampling], [form, form, form], [sampling]];
  const h = harness({
    async script(running) {
      for (const group of groups) await Promise.all(group.map(async (each) => running.input?.(each, never)));
      return ok();
    },
  });
  let { result } = await send(h.gw, "tools/call", call, declares);
  let requests = 1;
  while (result.resultType === "input_required") {
    const { inputRequests, requestState } = result as unknown as Round;
    const answers = Object.entries(inputRequests).map(([key, { method }]) => {
      const kind = Object.values(kinds).find(({ request }) => request.method === method);
      return `${JSON.stringify(key)}:${kind?.answer}`;
    });
    const text = `${JSON.stringify(call).slice(0, -1)},"inputResponses":{${answers.join(",")}},"requestState":"${requestState}"}`;
    ({ result } = await send(h.gw, "tools/call", text, declares));
    requests++;
  }
  expect(requests).toBe(groups.length + 1);
  expect(types(h.records).filter((type) => type !== "call.input")).toEqual(["call.begin", "call.end"]);
  expect(steps(h.records).filter((step) => step.startsWith("asked"))).toHaveLength(7);
  expect(steps(h.records).filter((step) => step.startsWith("accept"))).toHaveLength(7);
  expect(alice.revoked.aborted).toBe(false);
});
