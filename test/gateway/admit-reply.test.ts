import { describe, expect, test } from "bun:test";
import type { Era, InputRequest } from "../../src/core/inbound.ts";
import { makeTool } from "../support/call.ts";
import { textIn } from "../support/wire.ts";
import { asksByResult, call, form, kinds, never, retry, type Round } from "./ask.ts";
import { alice, type Asking, harness, item, ok, received, refused, send, session, steps } from "./support.ts";

test("each question is checked against the modes that a modern client declared", async () => {
  const rows: [declares: object, question: InputRequest, allowed: boolean][] = [
    [{ elicitation: {} }, form, true],
    [{ elicitation: { url: {} } }, form, false],
    [{ elicitation: { form: {}, url: {} } }, form, true],
    [{ elicitation: {} }, kinds.url?.request ?? form, false],
    [{ elicitation: {} }, { method: "elicitation/create", params: '{"mode":"telepathy"}' }, false],
    [{ sampling: {} }, { method: "sampling/createMessage", params: '{"tools":[]}' }, false],
    [{ sampling: { tools: {} } }, { method: "sampling/createMessage", params: '{"tools":[]}' }, true],
    [{ sampling: {} }, { method: "sampling/createMessage", params: '{"includeContext":"thisServer"}' }, false],
    [{ sampling: {} }, { method: "sampling/createMessage", params: '{"includeContext":"none"}' }, true],
    [
      { sampling: { context: {} } },
      { method: "sampling/createMessage", params: '{"includeContext":"thisServer"}' },
      true,
    ],
    [{ roots: true }, { method: "roots/list", params: "{}" }, false],
  ];
  for (const [declares, question, allowed] of rows) {
    const { gw } = harness({ script: asksByResult(question) });
    const { result } = await send(gw, "tools/call", call, { capabilities: { ...declares } });
    expect([declares, question.params, result.resultType]).toEqual([
      declares,
      question.params,
      allowed ? "input_required" : "complete",
    ]);
  }
});

test("S13: a server cannot send the gateway's own _meta keys to a client of either era", async () => {
  const forged = JSON.stringify({ content: [], _meta: { "mcpgw.dev/limit": { retryAfterMs: 9 }, "x/y": 1 } });
  for (const from of ["legacy", "modern"] as const) {
    const { gw } = harness({ script: () => ok(forged, from) });
    for (const era of ["legacy", "modern"] as const) {
      const { result } = await send(gw, "tools/call", call, { era });
      expect(result._meta).toMatchObject({ "x/y": 1 });
      expect(JSON.stringify(result)).not.toContain("mcpgw.dev/");
    }
  }
});

describe("a malformed question of a server", () => {
  const broken: [what: string, result: string][] = [
    ["S13: an unknown result type", '{"resultType":"surprise","content":[]}'],
    ["S13: a task without the declared extension", '{"resultType":"task","taskId":"t"}'],
    ["neither requests nor state", '{"resultType":"input_required"}'],
    ["requests that are a list", '{"resultType":"input_required","inputRequests":[]}'],
    ["a request that is not an object", '{"resultType":"input_required","inputRequests":{"k":7}}'],
    [
      "a method that clients do not have",
      '{"resultType":"input_required","inputRequests":{"k":{"method":"tools/call"}}}',
    ],
    [
      "params that are a list",
      '{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list","params":[]}}}',
    ],
    ["a state that is a number", '{"resultType":"input_required","requestState":7}'],
    [
      "too many questions",
      JSON.stringify({
        resultType: "input_required",
        inputRequests: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`k${i}`, { method: "roots/list" }])),
      }),
    ],
  ];
  const all = { elicitation: {}, sampling: {}, roots: {} };
  test.each(broken)("%s fails the call", async (_what, result) => {
    for (const era of ["legacy", "modern"] as const) {
      const { gw } = harness({ script: () => ok(result, "modern") });
      const asking = era === "legacy" ? { era, session: session(alice, all) } : { capabilities: all };
      const { call: ended, result: told } = await send(gw, "tools/call", call, asking);
      expect(ended.failure?.code ?? ended.whole?.failure?.code).toBe("upstream-protocol");
      expect(told.isError).toBe(true);
    }
  });

  test("a state that is too long to come back sealed fails the call", async () => {
    const long = JSON.stringify({ resultType: "input_required", requestState: "s".repeat(200_000) });
    const { gw } = harness({ script: () => ok(long, "modern") });
    const { call: ended } = await send(gw, "tools/call", call, { capabilities: all });
    expect(ended.whole?.failure?.code).toBe("upstream-protocol");
  });

  test("if one of several questions is refused, none is sent", async () => {
    const two = JSON.stringify({
      resultType: "input_required",
      inputRequests: {
        a: { method: form.method, params: JSON.parse(form.params) as object },
        b: { method: "roots/list" },
      },
    });
    const h = harness({ script: () => ok(two, "modern"), denies: ["crm roots/list"] });
    const { result } = await send(h.gw, "tools/call", call, { capabilities: all });
    expect(result.isError).toBe(true);
    expect(steps(h.records)).toEqual(["refused roots/list"]);
  });

  test("an extension's result type fails the call if the client declared only the tasks extension", async () => {
    const extensions = { "io.modelcontextprotocol/tasks": {}, "com.acme/x": {} };
    const servers = { crm: { tools: [makeTool("get")], capabilities: { tools: {}, extensions } } };
    const ask = (declared: object) =>
      send(harness({ servers, script: () => ok('{"resultType":"report"}', "modern") }).gw, "tools/call", call, {
        capabilities: { extensions: declared },
      });
    expect((await ask({ "io.modelcontextprotocol/tasks": {} })).call.failure?.code).toBe("upstream-protocol");
    expect((await ask(extensions)).result).toMatchObject({ resultType: "report" });
  });

  test("links in an extension's result have their wire URIs too", async () => {
    const extensions = { "com.acme/x": {} };
    const resources = [item("db://x")];
    const crm = { tools: [makeTool("get")], resources, capabilities: { tools: {}, resources: {}, extensions } };
    const text = '{"resultType":"report","content":[{"type":"resource_link","uri":"db://x"}]}';
    const { gw } = harness({ servers: { crm, files: { resources } }, script: () => ok(text, "modern") });
    const { result } = await send(gw, "tools/call", call, { capabilities: { extensions } });
    expect(result.content).toEqual([{ type: "resource_link", uri: "mcpgw+crm:db://x" }]);
  });

  test("only calls, prompts and resource reads may be answered with a question", async () => {
    const servers = { crm: { prompts: [{ name: "p", text: "{}" }] } };
    const { gw } = harness({ servers, script: asksByResult(form) });
    const params = { ref: { type: "ref/prompt", name: "crm__p" }, argument: { name: "n", value: "" } };
    const { call: ended } = await send(gw, "completion/complete", params, { capabilities: all });
    expect(ended.failure?.code).toBe("upstream-protocol");
  });
});

describe("errors that ask for something", () => {
  const visitText =
    '{"code":-32042,"message":"x","data":{"elicitations":[{"mode":"url","message":"m","url":"https://x/","elicitationId":"e1"}]}}';
  const visit = refused(visitText);
  const url = { elicitation: { url: {} } };

  test.each(["legacy", "modern"] as const)(
    "-32042 from a %s server becomes a round, and its retry repeats the plain call",
    async (server) => {
      let sends = 0;
      const h = harness({ script: () => (++sends === 1 ? refused(visitText, server) : ok("{}", server)) });
      const first = await send(h.gw, "tools/call", call, { capabilities: url });
      const { inputRequests } = first.result as unknown as Round;
      expect(Object.values(inputRequests)).toEqual([
        {
          method: "elicitation/create",
          params: { mode: "url", message: "m", url: "https://x/", elicitationId: "e1" },
        },
      ] as never);
      const { result } = await retry(h, first.result, '{"action":"accept"}', { capabilities: url });
      expect(result).toMatchObject({ resultType: "complete" });
      for (const era of ["legacy", "modern"] as const) {
        expect(received(h.sent[1] ?? (never as never), era)).toMatchObject({ name: "get", arguments: { a: 1 } });
        expect(received(h.sent[1] ?? (never as never), era)).not.toHaveProperty("inputResponses");
      }
    },
  );

  test.each(["decline", "cancel"])(
    "-32042 is not sent to the server again if a modern client answers %s for its URLs",
    async (action) => {
      const h = harness({ script: () => visit });
      const first = await send(h.gw, "tools/call", call, { capabilities: url });
      const { result, call: ended } = await retry(h, first.result, JSON.stringify({ action }), { capabilities: url });
      expect([ended.failure?.code, ended.failure?.detail.ran]).toEqual(["input-unavailable", "no"]);
      expect(result).toMatchObject({ resultType: "complete", isError: true });
      expect(h.sent).toHaveLength(1);
      expect(steps(h.records)).toEqual(["asked elicitation/create", `${action} elicitation/create`]);
    },
  );

  test("-32042 is sent to the server again only if all its URLs were accepted", async () => {
    const [first] = (JSON.parse(visitText) as { data: { elicitations: object[] } }).data.elicitations;
    const data = { elicitations: [first, { ...first, elicitationId: "e2" }] };
    const h = harness({ script: () => refused(JSON.stringify({ code: -32042, message: "x", data })) });
    const asked = (await send(h.gw, "tools/call", call, { capabilities: url })).result as unknown as Round;
    const answers = Object.keys(asked.inputRequests).map((key, at) => [key, { action: at ? "decline" : "accept" }]);
    const again = { ...call, requestState: asked.requestState, inputResponses: Object.fromEntries(answers) };
    const { call: ended } = await send(h.gw, "tools/call", again, { capabilities: url });
    expect([answers.length, ended.failure?.code, h.sent.length]).toEqual([2, "input-unavailable", 1]);
  });

  const everything = {
    crm: {
      tools: [makeTool("get")],
      prompts: [{ name: "p", text: "{}" }],
      resources: [{ name: "crm://1", text: "{}" }],
    },
  };
  const asked: [method: string, params: object][] = [
    ["tools/call", call],
    ["prompts/get", { name: "crm__p" }],
    ["resources/read", { uri: "crm://1" }],
    ["completion/complete", { ref: { type: "ref/prompt", name: "crm__p" }, argument: { name: "n", value: "" } }],
  ];
  const toLegacy = asked.flatMap(([method, params]) =>
    (["legacy", "modern"] as const).map((server) => [method, server, params] as const),
  );
  test.each(toLegacy)(
    "-32042 in answer to %s from a %s server is also a question to a legacy client",
    async (method, server, params) => {
      const ask = async (declares: object, denies: string[] = []) => {
        const h = harness({ servers: everything, script: () => refused(visitText, server), denies });
        const told = await send(h.gw, method, params, { era: "legacy", session: session(alice, { ...declares }) });
        return { ...told, steps: steps(h.records) };
      };
      const allowed = await ask(url);
      expect(allowed.error).toEqual(JSON.parse(visitText));
      expect(allowed.steps).toEqual(["asked elicitation/create"]);
      const refusals = [await ask({}), await ask({ elicitation: {} }), await ask(url, ["crm elicitation/create"])];
      expect(refusals.map(({ call: { failure } }) => failure?.code)).toEqual([
        "input-undeclared",
        "input-undeclared",
        "denied",
      ]);
      for (const { result, error, steps: recorded } of refusals) {
        expect(recorded).toEqual(["refused elicitation/create"]);
        expect(JSON.stringify(result ?? error)).not.toContain("https://x/");
      }
    },
  );

  test("-32042 with malformed questions fails the call, and -32042 without questions is passed on", async () => {
    const ask = (data: string, era: Era) =>
      send(harness({ script: () => refused(`{"code":-32042,"message":"x"${data}}`) }).gw, "tools/call", call, {
        era,
        capabilities: url,
      });
    for (const era of ["legacy", "modern"] as const) {
      const { call: ended } = await ask(',"data":{"elicitations":["https://x/"]}', era);
      expect(ended.failure?.code ?? ended.whole?.failure?.code).toBe("upstream-protocol");
    }
    expect((await ask("", "legacy")).error).toEqual({ code: -32042, message: "x" });
    expect((await ask("", "modern")).error.code).toBe(-32603);
  });

  test("-32042 reaches a modern client without its URLs if no round is possible; other errors are not questions", async () => {
    const h = harness({ servers: everything, script: () => visit });
    const params = { ref: { type: "ref/prompt", name: "crm__p" }, argument: { name: "n", value: "" } };
    const { error } = await send(h.gw, "completion/complete", params, { capabilities: url });
    expect(error).toEqual({ code: -32603, message: "x" });
    expect(steps(h.records)).toEqual([]);
    const like = refused(visitText.replace("-32042", "-32000"));
    for (const asking of [{ era: "legacy" }, { capabilities: url }] as const) {
      const other = harness({ script: () => like });
      expect((await send(other.gw, "tools/call", call, asking)).call.failure).toBeNull();
      expect(steps(other.records)).toEqual([]);
    }
  });

  test("-32042 is never shown to a modern client", async () => {
    const undeclared = await send(harness({ script: () => visit }).gw, "tools/call", call, { capabilities: {} });
    expect(undeclared.result.isError).toBe(true);
    const modern = refused('{"code":-32042,"message":"x"}', "modern");
    const other = await send(harness({ script: () => modern }).gw, "tools/call", call, { capabilities: url });
    expect(other.error.code).toBe(-32603);
  });

  test("a capability that the server misses is reported as missing on the caller's side", async () => {
    const misses = refused(
      '{"code":-32021,"message":"x","data":{"requiredCapabilities":{"elicitation":{"url":{}}},"server":"secret"}}',
      "modern",
    );
    const ask = async (asking: Asking) => send(harness({ script: () => misses }).gw, "tools/call", call, asking);
    const modern = await ask({ capabilities: { elicitation: {} } });
    expect(modern.error).toMatchObject({ code: -32021, data: { requiredCapabilities: { elicitation: { url: {} } } } });
    expect(JSON.stringify(modern.error)).not.toContain("secret");
    const legacy = await ask({ era: "legacy" });
    expect(textIn(legacy.result)).toContain("elicitation");
    // The code has no defined meaning for a legacy server.
    const its = harness({ script: () => ({ ...misses, era: "legacy" }) });
    expect((await send(its.gw, "tools/call", call, { era: "legacy" })).call.failure).toBeNull();
    // The caller did declare it, so the error concerns only the server and the gateway.
    expect((await ask({ capabilities: url })).error).toEqual({ code: -32603, message: "x" });
    // An error that does not name the capabilities is passed on.
    for (const data of ["", ',"data":{}', ',"data":{"requiredCapabilities":1}']) {
      const script = () => refused(`{"code":-32021,"message":"x"${data}}`, "modern");
      expect((await send(harness({ script }).gw, "tools/call", call)).error.message).toBe("x");
    }
  });
});
