import { describe, expect, test } from "bun:test";
import type { Reply } from "../../../src/core/call.ts";
import { Failure } from "../../../src/core/failure.ts";
import type { InputRequest } from "../../../src/core/inbound.ts";
import { makeTool } from "../../support/call.ts";
import { textIn } from "../../support/wire.ts";
import { asksByResult, asksMeanwhile, call, form, kinds, never, outcomes, retry, type Round } from "../ask.ts";
import { alice, type Asking, harness, ok, type Options, received, send, session, steps, types } from "../support.ts";

// The four cells of PROTOCOL 5.5: each kind of question for each pair of eras.

const mayHaveRun = "The call may have run: check before you repeat it.";

describe("R6: a guardrail that a reload adds during a question applies to the answer and to later questions", () => {
  const secret = '{"action":"accept","content":{"pin":"secret"}}';
  const servers: [string, NonNullable<Options["script"]>][] = [
    ["a legacy server does not get the answer", asksMeanwhile(form, form)],
    ["a modern server's call fails", asksByResult(form)],
  ];
  test.each(servers)("%s", async (_what, script) => {
    const h = harness({ script });
    const asked: string[] = [];
    const ask: Asking["ask"] = (each) => {
      asked.push(each.method);
      const admitsInput = () => ({ allowed: false, rule: "no-forms", reason: "not any more" });
      h.inForce.policy = { ...h.gw.policy, admitsInput };
      return Promise.resolve({ kind: "result", text: secret });
    };
    const asking: Asking = { era: "legacy", session: session(alice, { elicitation: {} }), ask };
    const { result } = await send(h.gw, "tools/call", call, asking);
    expect(textIn(result)).toContain("no-forms");
    expect(asked).toEqual([form.method]);
    const answered = h.records.filter(({ step }) => step?.answer !== undefined && step.answer !== null);
    expect([answered, JSON.stringify(h.sent.map((one) => one.request.edits)).includes("secret")]).toEqual([[], false]);
    expect(steps(h.records)[1]).toBe(`refused ${form.method}`);
  });
});

test("a question is decided by the caller, its source and the server", async () => {
  const h = harness({ script: asksMeanwhile(form) });
  const judged: unknown[] = [];
  const { admitsInput } = h.gw.policy;
  h.inForce.policy = { ...h.gw.policy, admitsInput: (...of) => (judged.push(of), admitsInput(...of)) };
  const ask: Asking["ask"] = () => Promise.resolve({ kind: "result", text: '{"action":"decline"}' });
  const asking: Asking = { era: "legacy", session: session(alice, { elicitation: {} }), ask };
  const { call: made } = await send(h.gw, "tools/call", call, asking);
  expect(judged[0]).toEqual([alice, made.source, "crm", "elicitation/create"]);
});

describe.each(Object.entries(kinds))("%s", (name, { request: question, declares, answer }) => {
  const asked: InputRequest[] = [];
  const legacy = (more: Asking = {}): Asking => ({
    era: "legacy",
    session: session(alice, declares),
    ask: (each) => {
      asked.push(each);
      return Promise.resolve({ kind: "result", text: answer });
    },
    ...more,
  });
  const expected = [`asked ${question.method}`, `${outcomes[name]} ${question.method}`];

  test("legacy caller, legacy server: relayed over the call's stream", async () => {
    asked.length = 0;
    const { gw, records } = harness({ script: asksMeanwhile(question) });
    const { result } = await send(gw, "tools/call", call, legacy());
    expect(textIn(result)).toBe(answer);
    expect(asked.map(({ params }) => params)).toEqual([question.params]);
    expect(steps(records)).toEqual(expected);
    expect(types(records)).toEqual(["call.begin", "call.input", "call.input", "call.end"]);
  });

  test("legacy caller, modern server: asked, and sent again within the same call", async () => {
    asked.length = 0;
    const { gw, records, sent } = harness({ script: asksByResult(question) });
    const { result } = await send(gw, "tools/call", call, legacy());
    expect(result).toEqual({ content: [], got: { k: JSON.parse(answer) }, state: "its own state" });
    expect(asked.map(({ method }) => method)).toEqual([question.method]);
    expect(sent.map((one) => received(one, "modern").requestState)).toEqual([undefined, "its own state"]);
    expect(sent.map((one) => received(one, "modern").name)).toEqual(["get", "get"]);
    expect(types(records)).toEqual(["call.begin", "call.input", "call.input", "call.end"]);
  });

  test("modern caller, modern server: passed on, its state sealed", async () => {
    const h = harness({ script: asksByResult(question) });
    const first = await send(h.gw, "tools/call", call, { capabilities: declares });
    const { requestState, ...rest } = first.result as unknown as Round;
    expect(rest).toEqual({
      resultType: "input_required",
      inputRequests: { k: { method: question.method, params: JSON.parse(question.params) } },
      _meta: { "io.modelcontextprotocol/serverInfo": { name: "mcpgw", version: "9" } },
    } as never);
    expect(requestState).not.toContain("its own state");
    const { result } = await retry(h, first.result, answer, { capabilities: declares });
    expect(result).toMatchObject({ got: { k: JSON.parse(answer) }, state: "its own state" });
    expect(steps(h.records)).toEqual(expected);
    expect(types(h.records)).toEqual(["call.begin", "call.input", "call.end", "call.begin", "call.input", "call.end"]);
    // The record of the retry names the call that asked.
    expect(h.records[4]?.step?.of).toBe(h.records[0]?.call.id);
  });

  test("modern caller, legacy server: the call waits, and the retry continues it", async () => {
    const h = harness({ script: asksMeanwhile(question) });
    const first = await send(h.gw, "tools/call", call, { capabilities: declares });
    expect(first.result.resultType).toBe("input_required");
    expect(Object.values((first.result as unknown as Round).inputRequests)).toEqual([
      { method: question.method, params: JSON.parse(question.params) },
    ]);
    expect(types(h.records)).toEqual(["call.begin", "call.input"]);
    const { result } = await retry(h, first.result, answer, { capabilities: declares });
    expect(result).toMatchObject({ resultType: "complete", content: [{ text: answer }] });
    expect(h.sent).toHaveLength(1);
    expect(h.taken.count).toBe(1);
    expect(steps(h.records)).toEqual(expected);
    expect(types(h.records)).toEqual(["call.begin", "call.input", "call.input", "call.end"]);
    expect(new Set(h.records.map((each) => each.call.id)).size).toBe(1);
    expect(h.counted).toEqual(["tools/call ok"]);
    expect(h.gw.parking.size).toBe(0);
  });

  const refusals: [why: string, options: Options, declared: Record<string, unknown>, word: string][] = [
    ["not declared", {}, {}, "did not declare"],
    ["denied by a guardrail", { denies: [`crm ${question.method}`] }, declares, "no-questions"],
  ];
  describe.each(refusals)("%s", (_why, options, declared, word) => {
    test.each(["legacy", "modern"] as const)("a legacy server gets an error with a %s caller", async (era) => {
      asked.length = 0;
      const { gw, records } = harness({ ...options, script: asksMeanwhile(question) });
      const asking = era === "legacy" ? legacy({ session: session(alice, declared) }) : { capabilities: declared };
      const { result } = await send(gw, "tools/call", call, asking);
      const error = JSON.parse(textIn(result)) as { code: number; message: string };
      expect(error.code).toBe(word === "no-questions" ? -1 : -32601);
      expect(error.message).toContain(word);
      expect(asked).toEqual([]);
      expect(steps(records)).toEqual([`refused ${question.method}`]);
    });

    test.each(["legacy", "modern"] as const)("the call fails at a modern server with a %s caller", async (era) => {
      asked.length = 0;
      const h = harness({ ...options, script: asksByResult(question) });
      const asking = era === "legacy" ? legacy({ session: session(alice, declared) }) : { capabilities: declared };
      const { result } = await send(h.gw, "tools/call", call, asking);
      expect(result.isError).toBe(true);
      expect(textIn(result)).toContain(word);
      expect(textIn(result)).toEndWith(mayHaveRun);
      expect(result.requestState).toBeUndefined();
      expect(asked).toEqual([]);
      expect(steps(h.records)).toEqual([`refused ${question.method}`]);
    });
  });
});

describe("a legacy caller on a modern server", () => {
  const legacy = (ask: Asking["ask"] | null, declares: object = { elicitation: {} }): Asking => ({
    era: "legacy",
    session: session(alice, { ...declares }),
    ...(ask && { ask }),
  });
  const accept: NonNullable<Asking["ask"]> = () => Promise.resolve({ kind: "result", text: '{"action":"accept"}' });

  test("is asked at most eight times", async () => {
    let asked = 0;
    const script = (): Reply =>
      ok(`{"resultType":"input_required","inputRequests":{"k${++asked}":{"method":"elicitation/create"}}}`, "modern");
    const { gw, sent } = harness({ script });
    const { result } = await send(gw, "tools/call", call, legacy(accept));
    expect(result.isError).toBe(true);
    expect(textIn(result)).toEndWith(`8 times and still wants more. ${mayHaveRun}`);
    expect(sent).toHaveLength(9);
  });

  test("that cannot be asked gets an error that says why", async () => {
    for (const method of ["tools/call", "prompts/get", "resources/read"]) {
      const servers = {
        crm: {
          tools: [makeTool("get")],
          prompts: [{ name: "p", text: "{}" }],
          resources: [{ name: "f:a", text: "{}" }],
        },
      };
      const { gw } = harness({ servers, script: asksByResult(form) });
      const names = { "tools/call": { name: "crm__get" }, "prompts/get": { name: "crm__p" } } as Record<string, object>;
      const { result, error } = await send(gw, method, names[method] ?? { uri: "f:a" }, legacy(null));
      const why = `it needs a session, and an Accept header with text/event-stream. ${mayHaveRun}`;
      if (method === "tools/call") expect(textIn(result)).toEndWith(why);
      else expect(error).toMatchObject({ code: -32603, message: expect.stringContaining(why) });
    }
  });

  test("that cancels while it is asked ends the call", async () => {
    const controller = new AbortController();
    const ask = () => (controller.abort(), new Promise<never>(() => {}));
    const { gw, sent } = harness({ script: asksByResult(form) });
    const { call: ended } = await send(gw, "tools/call", call, { ...legacy(ask), controller });
    expect([ended.failure?.code, sent.length]).toEqual(["cancelled", 1]);
  });

  test("that cancels while the question is recorded is not asked", async () => {
    const controller = new AbortController();
    const h = harness({ script: asksByResult(form) });
    const { input } = h.gw.audit;
    Object.assign(h.gw.audit, { input: (...given: Parameters<typeof input>) => (controller.abort(), input(...given)) });
    const { call: ended } = await send(h.gw, "tools/call", call, {
      ...legacy(() => expect.unreachable("it is asked")),
      controller,
    });
    expect(ended.failure?.code).toBe("cancelled");
  });

  test.each(["User rejected", "User rejected."])("that answers with an error fails the call: %s", async (message) => {
    const { gw, records } = harness({ script: asksByResult(form) });
    const { result } = await send(
      gw,
      "tools/call",
      call,
      legacy(() => Promise.resolve({ kind: "error", text: JSON.stringify({ code: -1, message }) })),
    );
    expect(result.isError).toBe(true);
    expect(textIn(result)).toBe(`The client did not answer elicitation/create: User rejected. ${mayHaveRun}`);
    expect(steps(records)).toEqual(["asked elicitation/create", "error elicitation/create"]);
  });

  test("that answers with something else fails the call, which is not recorded as accepted", async () => {
    const { gw, records, sent } = harness({ script: asksByResult(form) });
    const ask = legacy(() => Promise.resolve({ kind: "result", text: "{}" }));
    const { result } = await send(gw, "tools/call", call, ask);
    expect(textIn(result)).toBe(`The client did not answer elicitation/create. ${mayHaveRun}`);
    expect([steps(records)[1], sent.length]).toEqual(["error elicitation/create", 1]);
  });

  test("is asked in the form of its revision", async () => {
    const asked: string[] = [];
    const ask: NonNullable<Asking["ask"]> = (each) => {
      asked.push(each.params);
      return accept(each, never);
    };
    const old = { ...legacy(ask), revision: "2025-06-18" } as const;
    const meta = '{"mode":"form","message":"?","_meta":{"io.modelcontextprotocol/x":1,"progressToken":1,"a":1.10}}';
    await send(harness({ script: asksByResult({ ...form, params: meta }) }).gw, "tools/call", call, old);
    const url = { method: "elicitation/create", params: '{"mode":"url","url":"https://x/"}' } as const;
    await send(
      harness({ script: asksByResult(url) }).gw,
      "tools/call",
      call,
      legacy(ask, { elicitation: { url: {} } }),
    );
    expect(asked[0]).toBe('{"message":"?","_meta":{"a":1.10}}');
    expect(JSON.parse(asked[1] ?? "{}")).toEqual({ mode: "url", url: "https://x/", elicitationId: expect.any(String) });
  });

  test.each([
    ["upstream-down", "no", "lost"],
    ["overloaded", "no", "lost"],
    ["upstream-overloaded", "no", "lost"],
    ["timeout", "maybe", "timeout"],
  ] as const)(
    "whose answers fail with %s reads that the call may have run, because it ran up to its question",
    async (code, ran, status) => {
      const script: Options["script"] = (running, request) => {
        if (request.edits.inputResponses)
          throw new Failure(code, "It takes no more.", { ran, ...(ran === "no" && { advice: "Try again." }) });
        return asksByResult(form)(running, request);
      };
      const { gw, records } = harness({ script });
      const { result } = await send(gw, "tools/call", call, legacy(accept));
      expect(textIn(result)).toBe(`It takes no more. ${mayHaveRun}`);
      expect(records.at(-1)?.call.status).toBe(status);
    },
  );

  test("holds the server from its first request to its last, even if it does not answer", async () => {
    for (const answer of [accept, () => Promise.resolve({ kind: "error", text: '{"code":-1}' } as const)]) {
      const h = harness({ script: asksByResult(form) });
      const held: string[] = [];
      const hold = (server: string): (() => void) => {
        held.push(server);
        return () => void held.pop();
      };
      const during: string[][] = [];
      const ask: Asking["ask"] = (each) => {
        during.push([...held]);
        return answer(each, never);
      };
      const gw = { ...h.gw, upstreams: { ...h.gw.upstreams, hold } };
      await send(gw, "tools/call", call, legacy(ask));
      expect({ during, held }).toEqual({ during: [["crm"]], held: [] });
    }
  });

  test("a state without questions is sent back at once", async () => {
    let sends = 0;
    const script = (): Reply =>
      ++sends === 1
        ? ok('{"resultType":"input_required","requestState":"s"}', "modern")
        : ok('{"content":[]}', "modern");
    const { gw, sent } = harness({ script });
    expect((await send(gw, "tools/call", call, legacy(null))).result).toEqual({ content: [] });
    const [, again] = sent.map((one) => received(one, "modern"));
    expect(again).toMatchObject({ requestState: "s" });
    expect(again).not.toHaveProperty("inputResponses");
  });
});
