import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Failure } from "../../../src/core/failure.ts";
import { makeTool } from "../../support/call.ts";
import { textIn } from "../../support/wire.ts";
import { asksByResult, asksMeanwhile, form, retry, type Round } from "../ask.ts";
import { alice, type Asking, bob, harness, type Harness, type Options, received, send, steps } from "../support.ts";

// S07: a caller may forge the requestState that it sends back.

const declares = { capabilities: { elicitation: {} } };
const servers: NonNullable<Options["servers"]> = {
  crm: {
    tools: [makeTool("get"), makeTool("set")],
    prompts: [{ name: "get", text: "{}" }],
    resources: [
      { name: "f:a", text: "{}" },
      { name: "f:b", text: "{}" },
    ],
  },
  erp: { tools: [makeTool("get")] },
};
const params = { name: "crm__get", arguments: { id: 12 } };

const open = async (h: Harness): Promise<string> =>
  ((await send(h.gw, "tools/call", params, declares)).result as unknown as Round).requestState;

const again = (
  h: Harness,
  requestState: unknown,
  more: object = {},
  asking: Asking = declares,
  method = "tools/call",
) => send(h.gw, method, { ...params, ...more, requestState, inputResponses: {} }, { ...asking, id: "2" });

const kinds: [kind: string, script: NonNullable<Options["script"]>][] = [
  ["the state of a modern server", asksByResult(form)],
  ["a waiting call", asksMeanwhile(form)],
];

describe.each(kinds)("%s", (_kind, script) => {
  const attempts: [what: string, attempt: (h: Harness, state: string) => ReturnType<typeof send>][] = [
    ["of another caller", (h, state) => again(h, state, {}, { ...declares, who: bob })],
    ["for other arguments", (h, state) => again(h, state, { arguments: { id: 13 } })],
    [
      "for arguments that parse to the same number",
      (h, state) => again(h, state, { arguments: { id: 12, x: undefined, y: 1 } }),
    ],
    ["for another tool", (h, state) => again(h, state, { name: "crm__set" })],
    ["for the same tool of another server", (h, state) => again(h, state, { name: "erp__get" })],
    ["for another method", (h, state) => again(h, state, {}, declares, "prompts/get")],
    ["that is truncated", (h, state) => again(h, state.slice(0, -1))],
    ["with one character changed", (h, state) => again(h, `${state.startsWith("A") ? "B" : "A"}${state.slice(1)}`)],
    ["that is not a string", (h) => again(h, 7)],
    ["that is null", (h) => again(h, null)],
    ["that is empty", (h) => again(h, "")],
    [
      "that has expired",
      (h, state) => {
        h.clock.advance(10 * 60_000 + 1);
        return again(h, state);
      },
    ],
  ];
  test.each(attempts)(
    "a state %s is refused with the same message, and nothing reaches the server",
    async (_what, attempt) => {
      const h = harness({ servers, script });
      const state = await open(h);
      const before = h.sent.length;
      const { error, call } = await attempt(h, state);
      expect(error).toEqual({
        code: -32602,
        message:
          "This requestState was not given to you for this request or has expired. The call that it belongs to may have run: check before you make it again.",
      });
      expect(call.failure?.code).toBe("bad-state");
      expect(h.sent).toHaveLength(before);
      expect(h.records.at(-1)?.type).toBe("call.refused");
    },
  );

  test("T46: a retry while the gateway stops reads that its call may have run", async () => {
    const h = harness({ servers, script });
    const state = await open(h);
    const before = h.sent.length;
    const controller = new AbortController();
    controller.abort("The gateway is stopping.");
    const { failure } = (await again(h, state, {}, { ...declares, controller })).call;
    expect([failure?.code, failure?.detail.ran]).toEqual(["lost", "maybe"]);
    expect(h.sent).toHaveLength(before);
  });

  test("after a refused attempt, the caller can still answer", async () => {
    const h = harness({ servers, script });
    const state = await open(h);
    await again(h, state, {}, { ...declares, who: bob });
    await again(h, state, { arguments: {} });
    expect((await again(h, state)).error).toBeUndefined();
  });
});

test("a modern server's state may be sent again until it expires, because a reply may get lost", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const state = await open(h);
  for (const left of [10, 5, 1]) {
    expect((await again(h, state)).error).toBeUndefined();
    h.clock.advance((left / 16) * 10 * 60_000 - 1);
  }
  h.clock.advance(60_000);
  expect((await again(h, state)).call.failure?.code).toBe("bad-state");
});

test.each([
  ["ASCII", "x", 190 << 10],
  ["other text", "\u20ac", 63 << 10],
  ["characters that JSON escapes", "\u0001", 31 << 10],
])("T20: a state of %s that fits can come back, and a longer one fails the call", async (_of, text, fits) => {
  const state = text.repeat(fits);
  const h = harness({ servers, script: asksByResult(form, state) });
  expect((await again(h, await open(h))).result).toMatchObject({ state });
  const longer = harness({ servers, script: asksByResult(form, text.repeat(fits + fits / 30)) });
  expect((await send(longer.gw, "tools/call", params, declares)).call.failure?.code).toBe("upstream-protocol");
});

test("if the server gave no state, the caller gets one that holds the questions", async () => {
  const h = harness({ servers, script: asksByResult(form, null) });
  const requestState = await open(h);
  const inputResponses = { k: { action: "accept", content: { n: 1 } } };
  const { result } = await send(h.gw, "tools/call", { ...params, requestState, inputResponses }, declares);
  expect(result).toMatchObject({ got: inputResponses, state: null });
  expect(received(h.sent[1] ?? expect.unreachable(), "modern")).not.toHaveProperty("requestState");
  expect(h.records.at(-2)?.step).toMatchObject({ outcome: "accept", of: h.records[0]?.call.id });
});

describe("answers", () => {
  const sampled = { role: "assistant", model: "m", content: { type: "text", text: "t" } };
  const accept = { action: "accept", content: { password: "x" } };
  const volunteered: [what: string, answer: object, method: string, capability: object][] = [
    ["elicitation", accept, "elicitation/create", { elicitation: {} }],
    ["sampling", sampled, "sampling/createMessage", { sampling: {} }],
    ["roots", { roots: [{ uri: "file:///home" }] }, "roots/list", { roots: {} }],
  ];
  const give = (h: Harness, inputResponses: object, capabilities: object, requestState?: string) =>
    send(
      h.gw,
      "tools/call",
      { ...params, inputResponses, ...(requestState !== undefined && { requestState }) },
      { capabilities: { ...capabilities } },
    );

  test.each(volunteered)(
    "to unasked questions of %s have to be declared and allowed by the guardrails",
    async (...row) => {
      const [, answer, method, capability] = row;
      const free = harness({ servers });
      const undeclared = await give(free, { k: answer }, {});
      expect(undeclared.call.failure?.code).toBe("input-undeclared");
      const h = harness({ servers, denies: [`crm ${method}`] });
      const { result, call } = await give(h, { k: answer }, capability);
      expect(result.isError).toBe(true);
      expect(call.failure?.detail.rule).toBe("no-questions");
      expect(call.verdict?.rule).toBe("no-questions");
      for (const { sent, records } of [free, h]) {
        expect(sent).toEqual([]);
        expect(records.map(({ type }) => type)).toEqual(["call.refused"]);
      }
    },
  );

  test("that fit several methods have to be allowed for each, and answers that fit none are ignored", async () => {
    const h = harness({ servers, denies: ["crm sampling/createMessage"], script: asksByResult(form) });
    const both = { ...accept, ...sampled };
    expect((await give(h, { k: both }, { elicitation: {}, sampling: {} })).call.failure?.code).toBe("denied");
    const { result } = await give(h, { k: accept, x: { secret: 1 }, y: 7 }, { elicitation: {} });
    expect(result.got).toEqual({ k: accept });
    const free = harness({ servers, script: asksByResult(form) });
    await give(free, { k: both }, { elicitation: {}, sampling: {} });
    expect(free.sent[0]?.request.edits.inputResponses).toBe(JSON.stringify({ k: both }));
    expect(steps(free.records)).toHaveLength(1);
  });

  test("with unknown keys are ignored, also next to a state", async () => {
    const h = harness({ servers, script: asksByResult(form), denies: ["crm sampling/createMessage"] });
    const state = await open(h);
    const { result } = await give(h, { k: accept, __proto: accept, z: sampled, w: { roots: [] } }, {}, state);
    expect(result).toMatchObject({ got: { k: accept }, state: "its own state" });
    expect(Object.keys(result.got as object)).toEqual(["k"]);
    expect(h.records.flatMap(({ step }) => (step ? [`${step.outcome} ${step.request.method}`] : []))).toEqual([
      "asked elicitation/create",
      "accept elicitation/create",
    ]);
    const { error } = await give(h, { k: sampled }, declares.capabilities, state);
    expect(error).toEqual({ code: -32602, message: "inputResponses.k does not answer elicitation/create." });
  });

  test("to questions that a guardrail now forbids are refused", async () => {
    const h = harness({ servers, script: asksByResult(form) });
    const state = await open(h);
    const later = harness({ servers, script: asksByResult(form), denies: ["crm elicitation/create"] });
    expect((await give(later, { k: accept }, declares.capabilities, state)).call.failure?.code).toBe("denied");
    expect(later.sent).toEqual([]);
  });

  test("to questions that a guardrail now forbids are refused for a waiting call too, and do not end it", async () => {
    const h = harness({ servers, script: asksMeanwhile(form) });
    const asked = (await send(h.gw, "tools/call", params, declares)).result as unknown as Round;
    const admitsInput = () => ({ allowed: false, rule: "no-forms", reason: "not any more" });
    const later = { ...h, gw: { ...h.gw, policy: { ...h.gw.policy, admitsInput } } };
    const { call, result } = await retry(later, asked, JSON.stringify(accept), declares, params);
    expect([call.failure?.code, call.verdict?.rule, h.gw.parking.size]).toEqual(["denied", "no-forms", 1]);
    expect(textIn(result)).toContain("by rule no-forms: not any more");
    expect(steps(h.records)).toEqual(["asked elicitation/create"]);
    expect(h.records.at(-1)?.type).toBe("call.refused");
    const { result: allowed } = await retry(h, asked, JSON.stringify(accept), declares, params);
    expect(allowed.resultType).toBe("complete");
  });
});

test("answers that are not an object are refused, and others are passed on as written", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const state = await open(h);
  for (const inputResponses of [7, [], "x", null]) {
    const { error } = await send(h.gw, "tools/call", { ...params, requestState: state, inputResponses }, declares);
    expect(error.code).toBe(-32602);
  }
  const text = '{"k":{"action":"accept","content":{"n":12345678901234567890,"m":1.10}}}';
  const raw = `{"name":"crm__get","arguments":{"id":12},"inputResponses":${text},"requestState":${JSON.stringify(state)}}`;
  expect((await send(h.gw, "tools/call", raw, declares)).call.reply?.text).toContain(text);
});

test("P1 answers that cannot be recorded are not passed on", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const { result } = await send(h.gw, "tools/call", params, declares);
  const sent = h.sent.length;
  const refused = new Failure("audit-unavailable", "full");
  Object.assign(h.gw.audit, { input: () => Promise.reject(refused) });
  const { call } = await retry(h, result, '{"action":"accept","content":{}}', declares, params);
  expect([call.failure, h.sent.length]).toEqual([refused, sent]);
});

test("a requestState has no meaning for a method without rounds", async () => {
  const h = harness({ servers });
  const completion = {
    ref: { type: "ref/prompt", name: "crm__get" },
    argument: { name: "a", value: "v" },
    requestState: "forged",
  };
  expect((await send(h.gw, "completion/complete", completion, declares)).error).toBeUndefined();
});

test("a legacy caller's requestState and inputResponses have no meaning", async () => {
  const h = harness({ servers });
  const { error } = await again(h, "forged", {}, { era: "legacy" });
  expect(error).toBeUndefined();
  for (const era of ["legacy", "modern"] as const) {
    expect(h.sent.map((one) => received(one, era))).toEqual([
      expect.not.objectContaining({ requestState: expect.anything() }),
    ]);
  }
});

test("a state is bound to a resource's URI or a prompt's arguments", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const read = (uri: string, more = {}) => send(h.gw, "resources/read", { uri, ...more }, declares);
  const { requestState } = (await read("f:a")).result as unknown as Round;
  expect((await read("f:b", { requestState })).error.code).toBe(-32602);
  expect((await read("f:a", { requestState })).result).toMatchObject({ state: "its own state", ttlMs: 0 });
  const get = (args: object, more = {}) =>
    send(h.gw, "prompts/get", { name: "crm__get", arguments: args, ...more }, declares);
  const prompt = (await get({ a: "1" })).result as unknown as Round;
  expect((await get({ a: "2" }, { requestState: prompt.requestState })).error.code).toBe(-32602);
  expect((await get({ a: "1" }, { requestState: prompt.requestState })).error).toBeUndefined();
});

test("S07: a forged state never opens anything", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const state = await open(h);
  const before = h.sent.length;
  const forged = fc.oneof(
    fc.base64String(),
    fc.string(),
    fc
      .tuple(fc.nat(state.length - 1), fc.constantFrom("A", "Z", "a", "9", "-", "_", "="))
      .map(([at, char]) => state.slice(0, at) + char + state.slice(at + 1)),
  );
  await fc.assert(
    fc.asyncProperty(
      forged.filter((text) => text !== state),
      async (text) => {
        expect((await again(h, text)).call.failure?.code).toBe("bad-state");
      },
    ),
    { numRuns: 200 },
  );
  expect(h.sent).toHaveLength(before);
  expect(alice.id).toBe("key:alice");
});
