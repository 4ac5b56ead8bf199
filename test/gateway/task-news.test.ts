import { describe, expect, test } from "bun:test";
import { handle } from "../../src/gateway/handle.ts";
import { until } from "../support/until.ts";
import { allowsNothing, type Asking, bob, harness, type Harness, request, send, steps, types } from "./support.ts";
import { declared, knows, script, servers, start, working } from "./task.ts";

describe("notifications of tasks", () => {
  type Said = { method: string; params: Record<string, unknown> };
  const listen = (h: Harness, taskIds: string[], asking: Asking = knows, resourceSubscriptions: string[] = []) => {
    const said: Said[] = [];
    const controller = new AbortController();
    const emit = (text: string): void => void said.push(JSON.parse(text) as Said);
    const call = request(
      h.gw,
      "subscriptions/listen",
      { notifications: { taskIds, resourceSubscriptions } },
      { ...asking, controller, emit },
    );
    return { said, controller, call, ended: handle(h.gw, call) };
  };
  const tell = (h: Harness, task: string = working): void => {
    for (const watch of h.followed) watch.changed(task);
  };

  test("reach the owner of the task, under its handle", async () => {
    const h = harness({ servers, script });
    const taskId = await start(h);
    const own = listen(h, [taskId, "nonsense"]);
    const foreign = listen(h, [taskId], { ...knows, who: bob });
    await until(() => own.said.length > 0 && foreign.said.length > 0, "both are acknowledged");
    expect(own.said[0]?.params.notifications).toEqual({ taskIds: [taskId] });
    expect(foreign.said[0]?.params.notifications).toEqual({});
    expect([...h.followed].map(({ server, taskIds }) => [server, ...taskIds])).toEqual([["crm", "t-1"]]);
    tell(h, '{"taskId":"t-2"}');
    tell(h, "{}");
    tell(h);
    await until(() => own.said.length > 1, "the news");
    expect(own.said.slice(1).map(({ method, params }) => [method, params.taskId, params.status])).toEqual([
      ["notifications/tasks", taskId, "working"],
    ]);
    expect(foreign.said).toHaveLength(1);
    for (const each of [own, foreign]) each.controller.abort();
    await Promise.all([own.ended, foreign.ended]);
    expect(h.followed.size).toBe(0);
  });

  test("S13: cannot carry the gateway's own _meta keys", async () => {
    const h = harness({ servers, script });
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    tell(h, `{"_meta":{"mcpgw.dev/limit":{},"x/y":1},${working.slice(1)}`);
    await until(() => own.said.length > 1, "the news");
    expect(own.said[1]?.params["_meta"]).toMatchObject({ "x/y": 1 });
    expect(JSON.stringify(own.said[1])).not.toContain("mcpgw.dev/");
    own.controller.abort();
    await own.ended;
  });

  test("are not granted if the server does not send them, and end when it stops sending them", async () => {
    const silent = harness({ servers, script, silent: true });
    const unheard = listen(silent, [await start(silent)]);
    await until(() => unheard.said.length > 0, "it is acknowledged");
    expect(unheard.said[0]?.params.notifications).toEqual({});
    unheard.controller.abort();
    await unheard.ended;
    const h = harness({ servers, script });
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    for (const watch of h.followed) watch.lost();
    await own.ended;
    expect(own.call.reply?.text).toContain('"resultType":"complete"');
    expect(h.followed.size).toBe(0);
  });

  test("are granted only for tasks that the server granted", async () => {
    const h = harness({ servers, script });
    h.gw.upstreams.followTasks = () => Promise.resolve({ taskIds: new Set<string>(), end() {} });
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    expect(own.said[0]?.params.notifications).toEqual({});
    own.controller.abort();
    await own.ended;
  });

  test("are not limited in total: sent notifications no longer count", async () => {
    const h = harness({ servers, script });
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    for (let n = 1; n <= 1_001; n++) {
      tell(h, JSON.stringify({ taskId: "t-1", status: "working", n }));
      await new Promise(setImmediate);
    }
    expect([own.said.length, h.followed.size]).toEqual([1_002, 1]);
    own.controller.abort();
    await own.ended;
  });

  test("are only for clients that declared tasks, and end when a reload replaces their server", async () => {
    const h = harness({ servers, script });
    const taskId = await start(h);
    const undeclared = listen(h, [taskId], {});
    await undeclared.ended;
    expect(undeclared.call.failure?.code).toBe("missing-capability");
    const own = listen(h, [taskId]);
    await until(() => own.said.length > 0, "it is acknowledged");
    const reload = { serves: new Set(["crm", "erp"]), hasScope: () => true };
    h.gw.listeners.endUnserved({ ...reload, keeps: new Set(["crm"]) });
    tell(h);
    await until(() => own.said.length > 1, "news after a reload that left its server as it was");
    const news = (status: string, policy: typeof allowsNothing): void => {
      h.inForce.policy = policy;
      tell(h, `{"taskId":"t-1","status":"${status}"}`);
    };
    const judged = Promise.withResolvers<void>();
    const judge: typeof allowsNothing.judge = (...asked) => (judged.resolve(), allowsNothing.judge(...asked));
    news("failed", { ...allowsNothing, judge });
    await judged.promise;
    news("completed", h.gw.policy);
    await until(() => own.said.length > 2, "the next news");
    expect(own.said[2]?.params).toMatchObject({ status: "completed" });
    h.gw.listeners.endUnserved({ ...reload, keeps: new Set(["erp"]) });
    await own.ended;
    expect(own.said).toHaveLength(3);
    expect(own.call.reply?.text).toContain('"resultType":"complete"');
  });

  test("end with every reload if the client listens in one scope, which may no longer contain the tool", async () => {
    const h = harness({ servers, script });
    const own = listen(h, [await start(h)], { ...knows, scope: "crm" });
    await until(() => own.said.length > 0, "it is acknowledged");
    expect(h.followed.size).toBe(1);
    const all = new Set(["crm", "erp"]);
    h.gw.listeners.endUnserved({ serves: all, keeps: all, hasScope: () => true });
    await own.ended;
    expect(own.call.reply?.text).toContain('"resultType":"complete"');
  });

  test("are not granted to a caller that may no longer call the tool", async () => {
    const h = harness({ servers, script });
    const taskId = await start(h);
    h.inForce.policy = allowsNothing;
    const own = listen(h, [taskId]);
    await until(() => own.said.length > 0, "it is acknowledged");
    expect([own.said[0]?.params.notifications, h.followed.size]).toEqual([{}, 0]);
    own.controller.abort();
    await own.ended;
  });

  test("reach a caller that may call the tool only with certain arguments", async () => {
    const rules = { reader: [{ tool: "get", when: { "args.case": { eq: "open" } }, action: "allow" }] };
    const h = harness({ servers, script, rules });
    const { result } = await send(h.gw, "tools/call", { name: "crm__get", arguments: { case: "open" } }, knows);
    const own = listen(h, [String(result.taskId)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    tell(h);
    await until(() => own.said.length > 1, "the news");
    expect(own.said[1]).toMatchObject({ method: "notifications/tasks", params: { taskId: result.taskId } });
    own.controller.abort();
    await own.ended;
  });

  test.each([
    [1_001, 0],
    [5, 8 * 1024 ** 2],
  ])(
    "end if the server sends more than can be recorded: %i states with %i more characters each",
    async (times, more) => {
      const h = harness({ servers, script });
      const gw = { ...h.gw, audit: { ...h.gw.audit, input: () => new Promise<void>(() => {}) } };
      const asking = { capabilities: { ...declared, elicitation: {} } };
      const own = listen({ ...h, gw }, [await start(h, asking)], asking);
      await until(() => own.said.length > 0, "it is acknowledged");
      const params = { message: "?", requestedSchema: { type: "object" } };
      const inputRequests = { k: { method: "elicitation/create", params } };
      const state = JSON.stringify({ taskId: "t-1", status: "input_required", inputRequests, more: "x".repeat(more) });
      for (let told = 0; told < times; told++) tell(h, state);
      await own.ended;
      expect(own.call.reply?.text).toContain('"resultType":"complete"');
      expect(h.followed.size).toBe(0);
    },
  );

  test("end if a server sends more than is kept before everything is granted", async () => {
    const resources = [{ name: "file:///a", text: '{"name":"file:///a"}' }];
    const h = harness({ servers: { ...servers, erp: { resources } }, script });
    const granted = Promise.withResolvers<() => void>();
    h.gw.upstreams.subscribe = () => granted.promise;
    const own = listen(h, [await start(h)], knows, ["file:///a"]);
    await until(() => h.followed.size > 0, "it is followed");
    const padding = "x".repeat(100_000);
    for (let n = 0; n < 500; n++) {
      tell(h, JSON.stringify({ taskId: "t-1", status: "working", n, padding }));
      // Lets the queued states through.
      await new Promise(setImmediate);
    }
    granted.resolve(() => {});
    await own.ended;
    expect(own.call.reply?.text).toContain('"resultType":"complete"');
    expect(own.said.length).toBeLessThan(100);
    expect(own.said[0]?.params.notifications).toMatchObject({ resourceSubscriptions: ["file:///a"] });
  });

  test("come in the server's order, even if recording a question takes longer", async () => {
    const h = harness({ servers, script });
    const recorded = Promise.withResolvers<void>();
    const gw = { ...h.gw, audit: { ...h.gw.audit, input: () => recorded.promise } };
    const asking = { capabilities: { ...declared, elicitation: {} } };
    const own = listen({ ...h, gw }, [await start(h, asking)], asking);
    await until(() => own.said.length > 0, "it is acknowledged");
    const params = { message: "?", requestedSchema: { type: "object" } };
    const inputRequests = { k: { method: "elicitation/create", params } };
    tell(h, JSON.stringify({ taskId: "t-1", status: "input_required", inputRequests }));
    tell(h, '{"taskId":"t-1","status":"completed"}');
    recorded.resolve();
    await until(() => own.said.length > 2, "both");
    expect(own.said.slice(1).map((each) => each.params.status)).toEqual(["input_required", "completed"]);
    own.controller.abort();
    await own.ended;
  });

  test("with a question that is not allowed are withheld", async () => {
    const h = harness({ servers, script });
    const taskId = await start(h);
    const own = listen(h, [taskId]);
    await until(() => own.said.length > 0, "it is acknowledged");
    tell(h, '{"taskId":"t-1","inputRequests":{"k":{"method":"roots/list"}}}');
    tell(h);
    await until(() => own.said.length > 1, "the next news");
    const members = Object.keys(own.said[1]?.params ?? {});
    expect([members.includes("taskId"), members.includes("inputRequests")]).toEqual([true, false]);
    expect(steps(h.records)).toEqual(["refused roots/list"]);
    own.controller.abort();
    await own.ended;
  });

  const finished = (result: object): string => JSON.stringify({ taskId: "t-1", status: "completed", result });

  test("of an outcome are recorded once, before they are sent, with links as the caller sees them", async () => {
    const h = harness({ servers, script });
    h.inForce.catalog = {
      ...h.gw.catalog,
      outgoing: ({ server }, text) => text.replace("file:", `mcpgw+${server}:file:`),
    };
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    const before = h.records.length;
    const recorded: number[] = [];
    const push = own.said.push.bind(own.said);
    own.said.push = (...said) => (recorded.push(h.records.length - before), push(...said));
    tell(h);
    const content = [{ type: "resource_link", uri: "file:///a", name: "a" }];
    for (let times = 0; times < 3; times++) tell(h, finished({ content }));
    await until(() => own.said.length > 2, "the outcome");
    const linked = [{ type: "resource_link", uri: "mcpgw+crm:file:///a", name: "a" }];
    expect(own.said[2]?.params).toMatchObject({ status: "completed", result: { content: linked } });
    expect(recorded).toEqual([0, 1]);
    own.controller.abort();
    await own.ended;
    const [news, ...more] = h.records.slice(before);
    expect([news?.type, news?.call.route?.canonical, news?.call.status, more]).toEqual([
      "call.end",
      "crm:get",
      "ok",
      [],
    ]);
    expect(own.said[2]?.params).toMatchObject(JSON.parse(news?.call.reply?.text ?? ""));
    expect(own.said).toHaveLength(3);
  });

  test("T42: of an outcome are neither recorded nor sent after the client has left", async () => {
    const h = harness({ servers, script });
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    const [watch] = h.followed;
    const before = h.records.length;
    own.controller.abort();
    await own.ended;
    watch?.changed(finished({}));
    await new Promise(setImmediate);
    expect([h.records.length - before, own.said.length]).toEqual([0, 1]);
  });

  test("T42: of an outcome are not sent to a client that leaves during the recording", async () => {
    const h = harness({ servers, script });
    const [recording, recorded] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    const { end } = h.gw.audit;
    h.inForce.audit = { ...h.gw.audit, end: (call) => (recording.resolve(), recorded.promise.then(() => end(call))) };
    tell(h, finished({}));
    await recording.promise;
    own.controller.abort();
    await own.ended;
    recorded.resolve();
    await until(() => types(h.records).includes("call.end"), "the record");
    await new Promise(setImmediate);
    expect(own.said).toHaveLength(1);
  });

  test("of an outcome are sent even if the server sent null for it while the task worked", async () => {
    const h = harness({ servers, script });
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    const before = h.records.length;
    tell(h, `{"result":null,"error":null,"inputRequests":null,${working.slice(1)}`);
    tell(h, finished({ content: [] }));
    await until(() => own.said.length > 2, "the outcome");
    expect(own.said.slice(1).map(({ params }) => params.status)).toEqual(["working", "completed"]);
    expect(types(h.records.slice(before))).toEqual(["call.end"]);
    own.controller.abort();
    await own.ended;
  });

  test("of an outcome are withheld if they cannot be recorded", async () => {
    const h = harness({ servers, script });
    const own = listen(h, [await start(h)]);
    await until(() => own.said.length > 0, "it is acknowledged");
    h.failing.on = "call.end";
    for (const end of [finished({}), '{"taskId":"t-1","status":"failed","error":{"code":1,"message":"no"}}', working])
      tell(h, end);
    await until(() => own.said.length > 1, "the news without an outcome");
    expect(own.said.slice(1).map(({ params }) => params.status)).toEqual(["working"]);
    own.controller.abort();
    await own.ended;
  });
});
