import { describe, expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { createLimits, createLimitsState } from "../../src/limits/limits.ts";
import { limitsOptions } from "../../src/limits/options.ts";
import { makeTool } from "../support/call.ts";
import { principal } from "../support/principal.ts";
import {
  type Asking,
  bob,
  harness,
  type Harness,
  ok,
  type Options,
  received,
  refused,
  send,
  steps,
  types,
} from "./support.ts";
import { declared, id, knows, script, servers, start, working } from "./task.ts";

const get = (h: Harness, taskId: unknown, asking: Asking = knows) => send(h.gw, "tasks/get", { taskId }, asking);

describe("a call that becomes a task", () => {
  test("is known to its caller by a handle, which leads to the task at its server", async () => {
    const h = harness({ servers, script });
    const { result, call } = await send(h.gw, "tools/call", { name: "crm__get" }, knows);
    const { taskId, _meta, ...rest } = result;
    expect(rest).toEqual({
      resultType: "task",
      status: "working",
      createdAt: "2026-11-25T10:00:00Z",
      ttlMs: 60_000,
      n: 1.1,
    });
    expect(_meta).toMatchObject({ "io.modelcontextprotocol/serverInfo": { name: "mcpgw" } });
    expect(call.reply?.text).toContain('"n":1.10');
    expect(String(taskId)).not.toContain("t-1");
    expect((await get(h, taskId)).result).toMatchObject({ resultType: "complete", taskId, status: "working" });
    const answers = '{"k":{"action":"accept","content":{"n":1.10}}}';
    const update = `{"taskId":"${String(taskId)}","inputResponses":${answers}}`;
    const able = { capabilities: { ...declared, elicitation: {} } };
    expect((await send(h.gw, "tasks/update", update, able)).error).toBeUndefined();
    expect((await send(h.gw, "tasks/cancel", { taskId }, knows)).error).toBeUndefined();
    expect(h.sent.slice(1).map((one) => [one.request.method, received(one, "modern").taskId])).toEqual([
      ["tasks/get", "t-1"],
      ["tasks/update", "t-1"],
      ["tasks/cancel", "t-1"],
    ]);
    expect(h.sent[2]?.request.edits.inputResponses).toBe(answers);
    const both = ["call.begin", "call.end"];
    expect(types(h.records)).toEqual([...both, ...both, "call.begin", "call.input", "call.end", ...both]);
    expect(new Set(h.records.map(({ call: each }) => each.route?.canonical))).toEqual(new Set(["crm:get"]));
  });

  test("R36: can be followed and cancelled when its tool's limit is used up; that takes the caller's tokens", async () => {
    const h = harness({ servers, script });
    const options = limitsOptions.parse({ perMinute: 3, perTool: [{ tool: "get", perMinute: 1 }] });
    const gw = { ...h.gw, limits: createLimits(options, h.clock, createLimitsState(h.clock)) };
    const call = () => send(gw, "tools/call", { name: "crm__get" }, knows);
    const { taskId } = (await call()).result;
    expect((await call()).call.failure?.detail.limit).toBe("perTool get");
    for (const method of ["tasks/get", "tasks/cancel"])
      expect((await send(gw, method, { taskId }, knows)).error).toBeUndefined();
    expect((await send(gw, "tasks/get", { taskId }, knows)).call.failure?.detail.limit).toBe("perMinute");
  });

  test("is allowed if its call was allowed only with certain arguments", async () => {
    const rules = { reader: [{ tool: "get", when: { "args.case": { eq: "open" } }, action: "allow" }] };
    const h = harness({ servers, script, rules });
    const call = { name: "crm__get", arguments: { case: "open" } };
    const taskId = (await send(h.gw, "tools/call", call, knows)).result.taskId;
    expect((await get(h, taskId)).result).toMatchObject({ taskId, status: "working" });
    const other = await send(h.gw, "tools/call", { ...call, arguments: { case: "shut" } }, knows);
    expect(other.call.failure?.code).toBe("denied");
  });

  test("is not checked against the tool's schema", async () => {
    const h = harness({ servers, script });
    const taskId = await start(h);
    const strict = {
      check: () => {
        throw new Failure("invalid-arguments", "They do not fit.");
      },
      refuses: () => null,
      refusesOutput: () => null,
      unchecked: () => [],
    };
    const gw = { ...h.gw, validator: strict };
    expect((await get({ ...h, gw }, taskId)).error).toBeUndefined();
    expect((await send(gw, "tools/call", { name: "crm__get" }, knows)).call.failure?.code).toBe("invalid-arguments");
  });

  test("S13: needs a caller and a server that both declared tasks", async () => {
    const asked: [asking: Asking, name: string][] = [
      [{}, "crm__get"],
      [{ capabilities: { extensions: { "com.acme/x": {} } } }, "crm__get"],
      [{ era: "legacy", capabilities: declared }, "crm__get"],
      [knows, "erp__get"],
    ];
    for (const [asking, name] of asked) {
      const h = harness({ servers, script });
      expect((await send(h.gw, "tools/call", { name }, asking)).call.failure?.code).toBe("upstream-protocol");
    }
    const prompts = { crm: { ...servers["crm"], prompts: [{ name: "p", text: "{}" }] } };
    const h = harness({ servers: prompts, script: () => ok(`{"resultType":"task",${working.slice(1)}`, "modern") });
    const { call: ended } = await send(h.gw, "prompts/get", { name: "crm__p" }, knows);
    expect(ended.failure?.code).toBe("upstream-protocol");
    for (const taskId of ["", ',"taskId":7', `,"taskId":"${"t".repeat(2_000)}"`]) {
      const h = harness({ servers, script: () => ok(`{"resultType":"task"${taskId}}`, "modern") });
      const { call } = await send(h.gw, "tools/call", { name: "crm__get" }, knows);
      expect(call.failure?.code).toBe("upstream-protocol");
    }
  });

  test("a handle lasts 30 days even if the task's ttlMs is shorter, because the server may extend it", async () => {
    const h = harness({ servers, script });
    const taskId = await start(h);
    h.clock.advance(29 * 86_400_000);
    expect((await get(h, taskId)).error).toBeUndefined();
    h.clock.advance(2 * 86_400_000);
    expect((await get(h, taskId)).error.message).toBe("Task not found.");
  });

  test("a handle lasts as long as the task's ttlMs if that is longer", async () => {
    const days = 45 * 86_400_000;
    const kept = working.replace('"ttlMs":60000', `"ttlMs":${days}`);
    const keeps: typeof script = (...asked) =>
      asked[1].method === "tools/call" ? ok(`{"resultType":"task",${kept.slice(1)}`, "modern") : script(...asked);
    const h = harness({ servers, script: keeps });
    const taskId = await start(h);
    h.clock.advance(days - 1);
    expect((await get(h, taskId)).error).toBeUndefined();
    h.clock.advance(2);
    expect((await get(h, taskId)).error.message).toBe("Task not found.");
  });

  test.each(["1e300", "1e400", "-1"])("a task with a ttlMs of %s has a handle too", async (ttlMs) => {
    const kept = working.replace('"ttlMs":60000', `"ttlMs":${ttlMs}`);
    const h = harness({ servers, script: () => ok(`{"resultType":"task",${kept.slice(1)}`, "modern") });
    expect((await send(h.gw, "tools/call", { name: "crm__get" }, knows)).result.taskId).toBeString();
  });
});

describe("S24: tasks of others", () => {
  const methods = ["tasks/get", "tasks/update", "tasks/cancel"];
  const rows = methods.flatMap((method) =>
    (
      [
        "foreign",
        "unknown",
        "forbidden",
        "out of scope",
        "out of the toolset",
        "cut",
        "a number",
        "its own id",
      ] as const
    ).map((what) => [method, what] as const),
  );
  test.each(rows)("%s of a handle that is %s fails like that of an unknown task", async (method, what) => {
    const h = harness({
      servers,
      script,
      toolsets: { narrow: ["crm:other"] },
      rules: { reader: [{ action: "allow" }], outsider: [{ server: "erp", action: "allow" }] },
    });
    const taskId = await start(h);
    const asks: Record<typeof what, [taskId: unknown, asking: Asking]> = {
      foreign: [taskId, { ...knows, who: bob }],
      unknown: ["nonsense", knows],
      forbidden: [taskId, { ...knows, who: principal("key:alice", ["outsider"]) }],
      "out of scope": [taskId, { ...knows, scope: "erp" }],
      "out of the toolset": [taskId, { ...knows, scope: "narrow" }],
      cut: [taskId.slice(1), knows],
      "a number": [7, knows],
      "its own id": ["t-1", knows],
    };
    const [text, asking] = asks[what];
    const before = h.sent.length;
    const { error, call } = await send(h.gw, method, { taskId: text, inputResponses: {} }, asking);
    expect(error).toEqual({ code: -32602, message: "Task not found." });
    expect(call.failure?.code).toBe("unknown-task");
    expect(h.sent).toHaveLength(before);
    expect(h.records.at(-1)?.type).toBe("call.refused");
  });

  test("a task that a rule now forbids is refused, and only the record shows the rule", async () => {
    const rules = { reader: [{ action: "allow" }], outsider: [{ id: "closed", tool: "get", action: "deny" }] };
    const h = harness({ servers, script, rules });
    const taskId = await start(h);
    const { error, call } = await get(h, taskId, { ...knows, who: principal("key:alice", ["outsider"]) });
    expect(error).toEqual({ code: -32602, message: "Task not found." });
    expect([call.route?.canonical, call.verdict?.rule, call.policy]).toEqual(["crm:get", "closed", h.gw.policy.digest]);
  });

  test.each(["tasks/list", "tasks/result", "tasks/delete", "tasks/purge"])(
    "%s, which the gateway does not serve, reaches no server",
    async (method) => {
      const own = { "com.acme/tasks": {}, ...declared.extensions };
      const h = harness({
        servers: { crm: { tools: [makeTool("get")], capabilities: { tools: {}, extensions: own } } },
        script,
      });
      const taskId = await start(h);
      for (const era of ["modern", "legacy"] as const) {
        for (const params of [{}, { taskId: "t-1" }, { taskId, uri: "f:a" }]) {
          const asking = { who: bob, era, capabilities: { extensions: own } };
          const { error } = await send(h.gw, method, params, asking);
          expect(error).toEqual({ code: -32601, message: `This gateway does not serve the method "${method}".` });
        }
      }
      expect(h.sent).toHaveLength(1);
    },
  );

  test("a client that did not declare tasks is told to declare them", async () => {
    const h = harness({ servers, script });
    const taskId = await start(h);
    const { error, call } = await get(h, taskId, {});
    expect(error).toMatchObject({ code: -32021, data: { requiredCapabilities: { extensions: { [id]: {} } } } });
    expect(call.failure?.row.http).toBe(400);
  });

  test("a server's own refusal is passed on", async () => {
    const h = harness({
      servers,
      script: (call, request, route) =>
        request.method === "tasks/get"
          ? refused('{"code":-32602,"message":"gone"}', "modern")
          : (script?.(call, request, route) ?? ok()),
    });
    expect((await get(h, await start(h))).error).toEqual({ code: -32602, message: "gone" });
  });

  test("a task whose tool is gone is still decided by the tool's rule, which is recorded", async () => {
    const h = harness({ servers, script, rules: { reader: [{ id: "gets", tool: "get", action: "allow" }] } });
    const taskId = await start(h);
    const gw = { ...h.gw, catalog: { ...h.gw.catalog, find: () => null } };
    const { call, error } = await get({ ...h, gw }, taskId);
    expect(error).toBeUndefined();
    expect([call.verdict?.rule, call.policy]).toEqual(["gets", h.gw.policy.digest]);
  });

  test("a task whose server is gone is unknown", async () => {
    const h = harness({ servers, script });
    const taskId = await start(h);
    const gw = { ...h.gw, upstreams: { ...h.gw.upstreams, listings: () => [] } };
    expect((await get({ ...h, gw }, taskId)).error).toEqual({ code: -32602, message: "Task not found." });
    expect(h.sent).toHaveLength(1);
  });
});

describe("questions of a task", () => {
  const asks =
    '{"resultType":"complete","taskId":"t-1","status":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"?"}}}}';
  const asking: Options["script"] = (_call, { method }) =>
    ok(method === "tools/call" ? `{"resultType":"task",${working.slice(1)}` : asks, "modern");
  const both = { capabilities: { ...declared, elicitation: {} } };

  test("are passed on if the client declared them, and are recorded", async () => {
    const h = harness({ servers, script: asking });
    const taskId = await start(h, both);
    const { result } = await get(h, taskId, both);
    expect(result).toMatchObject({
      taskId,
      status: "input_required",
      inputRequests: { k: { params: { message: "?" } } },
    });
    expect(steps(h.records)).toEqual(["asked elicitation/create"]);
    expect((await get(h, taskId, knows)).call.failure?.code).toBe("input-undeclared");
  });

  test("may be null, which means none", async () => {
    const none = `"inputRequests":null,${working.slice(1)}`;
    const script: Options["script"] = (_call, { method }) =>
      ok(`{"resultType":"${method === "tools/call" ? "task" : "complete"}",${none}`, "modern");
    const h = harness({ servers, script });
    const taskId = await start(h);
    expect((await get(h, taskId)).result).toMatchObject({ taskId, status: "working" });
    expect(steps(h.records)).toEqual([]);
  });

  test("in the result that creates the task are checked too", async () => {
    const script: Options["script"] = () => ok(asks.replace("complete", "task"), "modern");
    const h = harness({ servers, script });
    const { result } = await send(h.gw, "tools/call", { name: "crm__get" }, both);
    expect(result).toMatchObject({ resultType: "task", inputRequests: { k: { params: { message: "?" } } } });
    expect(steps(h.records)).toEqual(["asked elicitation/create"]);
    const undeclared = await send(h.gw, "tools/call", { name: "crm__get" }, knows);
    expect(undeclared.call.failure?.code).toBe("input-undeclared");
    const barred = harness({ servers, script, denies: ["crm elicitation/create"] });
    const denied = await send(barred.gw, "tools/call", { name: "crm__get" }, both);
    expect(JSON.stringify(denied.result)).toContain("no-questions");
    expect(steps(barred.records)).toEqual(["refused elicitation/create"]);
  });

  test("accept only answers that are well-formed, declared and allowed by the guardrails", async () => {
    const h = harness({ servers, script: asking, denies: ["crm roots/list"] });
    const taskId = await start(h, both);
    const give = (inputResponses: unknown, capabilities: Record<string, unknown> = both.capabilities) =>
      send(h.gw, "tasks/update", { taskId, inputResponses }, { capabilities });
    const accept = { action: "accept", content: {} };
    expect((await give({ k: accept }, declared)).call.failure?.code).toBe("input-undeclared");
    expect((await give({ k: { roots: [] } }, { ...declared, roots: {} })).call.failure?.code).toBe("denied");
    for (const malformed of [[accept], { k: 5 }, { k: null }, { k: accept, x: [accept] }])
      expect((await give(malformed)).error.code).toBe(-32602);
    expect(h.sent).toHaveLength(1);
    expect((await give({ k: accept, x: { ignored: true } })).error).toBeUndefined();
    expect(h.sent[1]?.request.edits.inputResponses).toBe(`{"k":${JSON.stringify(accept)}}`);
    const given = h.records.flatMap(({ call, step }) => (step?.answer ? [[call.inbound.method, step.answer]] : []));
    expect(given).toEqual([["tasks/update", JSON.stringify(accept)]]);
  });

  test("need not be answered in an update, and fail the call if they are malformed", async () => {
    const h = harness({ servers, script: () => ok(asks.replace('{"k"', '[{"k"').replace(/}$/, "]}"), "modern") });
    const made = harness({ servers, script: asking });
    const taskId = await start(made, both);
    expect((await send(made.gw, "tasks/update", { taskId }, both)).error).toBeUndefined();
    expect(made.sent).toHaveLength(2);
    expect(made.sent[1]?.request.edits ?? {}).not.toHaveProperty("inputResponses");
    expect((await get(h, taskId, both)).call.failure?.code).toBe("upstream-protocol");
  });

  test("are refused if a guardrail forbids them", async () => {
    const h = harness({ servers, script: asking, denies: ["crm elicitation/create"] });
    const taskId = await start(h, both);
    const { error } = await get(h, taskId, both);
    expect(error.message).toContain("no-questions");
    expect(steps(h.records)).toEqual(["refused elicitation/create"]);
  });
});
