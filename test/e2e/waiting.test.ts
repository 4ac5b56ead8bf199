import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { type Answer, event, reply, serve } from "../support/mcp-server.ts";
import { serveFake } from "../support/upstream.ts";
import { until } from "../support/until.ts";
import { eventsOf, modern, pick, request, resultOf } from "../support/wire.ts";

// What outlives one request of a modern client: calls that wait for its answers, and streams that it listens to.

setDefaultTimeout(30_000);

const config = {
  servers: [fake("old", ["--rich"]), { ...fake("other", ["--rich"]), prefix: "always" }],
  policies: [everything()],
};
const declares = {
  meta: { "io.modelcontextprotocol/clientCapabilities": { elicitation: { form: {} } } },
};
const question = { method: "elicitation/create", params: { message: "Which one?", requestedSchema: {} } };
const call = { name: "old__ask", arguments: question };
const accept = { action: "accept", content: { which: "this" } };

type Round = { resultType: string; requestState: string; inputRequests: Record<string, unknown> };

const post = async (daemon: Daemon, key: string, params: Record<string, unknown>) => {
  const { body, headers } = modern("tools/call", params, declares);
  return daemon.post(body, { key, headers });
};

const ask = async (daemon: Daemon, key: string): Promise<Round> =>
  pick((await post(daemon, key, call)).json, "result") as Round;

const answers = ({ inputRequests, requestState }: Round) => ({
  ...call,
  requestState,
  inputResponses: Object.fromEntries(Object.keys(inputRequests).map((name) => [name, accept])),
});

/** Whether the retry gets a tool error that says that the call may have run. */
const mayHaveRun = async (daemon: Daemon, key: string, round: Round): Promise<boolean> => {
  const { json } = await post(daemon, key, answers(round));
  return pick(json, "result.isError") === true && JSON.stringify(json).includes("may have run: check before");
};

const recorded = async (daemon: Daemon): Promise<string[]> =>
  (await daemon.place.records())
    .filter(({ tool, type }) => tool === "ask" && type.startsWith("call."))
    .map(({ type, st }) => (st === undefined ? type : `${type} ${st}`));

test("S24 D6: an old server's question waits for its modern client's retry, and for no other caller's", async () => {
  await using daemon = await start(config);
  const [key, foreign] = [await daemon.place.key("agent"), await daemon.place.key("stranger")];
  const round = await ask(daemon, key);
  expect(round.resultType).toBe("input_required");
  expect(Object.values(round.inputRequests)).toEqual([question]);
  expect(pick((await post(daemon, foreign, answers(round))).json, "error.code")).toBe(-32602);
  expect(await daemon.get("/metrics").then(({ text }) => text)).toContain("mcp_gateway_parked_calls 1");
  const { json } = await post(daemon, key, answers(round));
  expect(resultOf(json)).toEqual({ result: accept });
  expect(await mayHaveRun(daemon, key, round)).toBe(true);
  expect(daemon.place.calls("old")).toEqual(["ask"]);
  await until(async () => (await recorded(daemon)).includes("call.end ok"), "its end is durable");
  expect((await recorded(daemon)).filter((record) => !record.startsWith("call.refused"))).toEqual([
    "call.begin",
    "call.input",
    "call.input",
    "call.end ok",
  ]);
});

test("S20: a question of an old child during several calls waits until only its own call is left, and reaches no one else", async () => {
  await using daemon = await start(config);
  const [key, foreign] = [await daemon.place.key("agent"), await daemon.place.key("stranger")];
  const file = daemon.place.path("go-on");
  const slow = { name: "old__slow", arguments: { ms: 0, file } };
  const others = [key, foreign].map((one) => post(daemon, one, slow));
  await until(() => daemon.place.calls("old").length === 2, "the other calls run");
  const asking = ask(daemon, key);
  await until(() => daemon.place.calls("old").includes("ask"), "the call that asks runs");
  writeFileSync(file, "");
  for (const { json } of await Promise.all(others)) expect(pick(json, "result.resultType")).toBe("complete");
  const round = await asking;
  expect(Object.values(round.inputRequests)).toEqual([question]);
  expect(resultOf((await post(daemon, key, answers(round))).json)).toEqual({ result: accept });
  const steps = (await daemon.place.records()).filter(({ type }) => type === "call.input");
  expect(steps.map(({ tool, facts }) => [tool, pick(facts, "outcome")])).toEqual([
    ["ask", "asked"],
    ["ask", "accept"],
  ]);
});

test("a question with no room to wait is recorded as refused, with the reason, and counted", async () => {
  // Over HTTP with streams, each question belongs to its own call.
  await using server = await serveFake(["--http", "--sse"]);
  await using daemon = await start({ ...config, servers: [{ id: "old", url: server.url }] });
  const key = await daemon.place.key("agent");
  const places = 16;
  await Promise.all(Array.from({ length: places }, () => ask(daemon, key)));
  const { json } = await post(daemon, key, call);
  expect(JSON.stringify(json)).toContain("Too many of your calls are waiting");
  const steps = (await daemon.place.records()).filter(({ type }) => type === "call.input");
  expect(steps.map(({ facts }) => pick(facts, "outcome"))).toEqual([...Array(places + 1).fill("asked"), "refused"]);
  expect(steps.at(-1)).toMatchObject({ tool: "ask", reason: expect.stringContaining(`limit ${places}`) });
  expect(await daemon.get("/metrics").then(({ text }) => text)).toContain("mcp_gateway_parked_refused_total 1");
});

test("a call that waits when the gateway stops is recorded as lost, and its client is told that it may have run", async () => {
  await using daemon = await start(config);
  const key = await daemon.place.key("agent");
  const round = await ask(daemon, key);
  expect(await daemon.stop()).toBe(0);
  expect(await recorded(daemon)).toEqual(["call.begin", "call.input", "call.end lost"]);
  // The stop is immediate: answers can no longer arrive, so it does not wait for them.
  const end = (await daemon.place.records()).find(({ type }) => type === "call.end");
  expect(end).toMatchObject({ reason: expect.stringContaining("stopped while the call waited for answers") });
  await using again = await daemon.place.start();
  expect(await mayHaveRun(again, key, round)).toBe(true);
});

test("a call that waits when the gateway is killed is lost, not ended", async () => {
  await using daemon = await start(config);
  const key = await daemon.place.key("agent");
  const round = await ask(daemon, key);
  await until(async () => (await recorded(daemon)).length === 2, "the question is durable");
  daemon.child.kill("SIGKILL");
  await daemon.child.exited;
  await using again = await daemon.place.start();
  await until(async () => (await recorded(again)).length === 3, "the end is durable");
  expect(await recorded(again)).toEqual(["call.begin", "call.input", "call.lost lost"]);
  expect(await mayHaveRun(again, key, round)).toBe(true);
});

type Said = { method?: string; id?: unknown; params?: Record<string, unknown>; result?: unknown };

test("R6: a guardrail that a reload adds applies to answers to earlier questions, in both eras", async () => {
  await using daemon = await start(config);
  const key = await daemon.place.key("agent");
  const parked = await ask(daemon, key);
  const headers = await daemon.session(key, "2025-11-25", { capabilities: { elicitation: {} } });
  const stream = eventsOf(await daemon.send(request("tools/call", call, 7), { key, headers }));
  const asked = (await stream.next()).value;
  expect(pick(asked, "method")).toBe("elicitation/create");
  const rules = [{ id: "no-questions", input: "*", action: "deny" }];
  daemon.place.configure({ ...config, rules });
  await daemon.place.json("config", "reload");
  await daemon.post({ jsonrpc: "2.0", id: pick(asked, "id"), result: accept }, { key, headers });
  expect(JSON.stringify((await stream.next()).value)).toContain("no-questions");
  const { json } = await post(daemon, key, answers(parked));
  expect(pick(json, "result.isError")).toBe(true);
  expect(JSON.stringify(json)).toContain("no-questions");
  expect(daemon.place.heard("old").filter((message) => JSON.stringify(message).includes('"which":"this"'))).toEqual([]);
});

/** Starts a modern server whose tool asks in its result, and returns the answers that the retried call brings. */
const asksAgain: Answer = ({ id, method, params }) => {
  if (method === "server/discover")
    return reply(id, { resultType: "complete", supportedVersions: ["2026-07-28"], capabilities: { tools: {} } });
  if (method === "tools/list")
    return reply(id, { resultType: "complete", tools: [{ name: "ask", inputSchema: { type: "object" } }] });
  if (method !== "tools/call") return null;
  const { inputResponses } = params ?? {};
  if (inputResponses) return reply(id, { resultType: "complete", content: [], inputResponses });
  return reply(id, { resultType: "input_required", inputRequests: { k: question } });
};

test("a reload that removes a modern server lets a call finish whose legacy caller is being asked", async () => {
  using server = serve(asksAgain);
  await using daemon = await start({
    ...config,
    servers: [...config.servers, { id: "new", url: server.url, protocol: "modern" }],
  });
  const key = await daemon.place.key("agent");
  const headers = await daemon.session(key, "2025-11-25", { capabilities: { elicitation: {} } });
  const asks = request("tools/call", { name: "new__ask", arguments: {} }, 7);
  const stream = eventsOf(await daemon.send(asks, { key, headers }));
  const asked = (await stream.next()).value;
  expect(pick(asked, "method")).toBe("elicitation/create");
  daemon.place.configure(config);
  await daemon.place.json("config", "reload");
  await daemon.post({ jsonrpc: "2.0", id: pick(asked, "id"), result: accept }, { key, headers });
  expect(pick((await stream.next()).value, "result.inputResponses")).toEqual({ k: accept });
});

const desk = { id: "desk", include: ["old:*", "other:*"] };
const takes: [what: string, changed: object][] = [
  ["the right to its tool", { rules: [{ id: "no-asking", tool: "old:ask", action: "deny" }] }],
  ["its server", { servers: config.servers.slice(1) }],
  ["its tool from the endpoint", { toolsets: [{ ...desk, exclude: ["old:ask"] }] }],
];

test.each(takes)(
  "after a reload removed %s, a waiting call ends with its retry, and does not block a later call",
  async (...row) => {
    const before = { ...config, toolsets: [desk] };
    await using daemon = await start(before);
    const key = await daemon.place.key("agent");
    const reload = async (changed: object): Promise<void> => {
      daemon.place.configure({ ...before, ...changed });
      await daemon.place.json("config", "reload");
    };
    const send = async (params: Record<string, unknown>): Promise<unknown> => {
      const { body, headers } = modern("tools/call", params, declares);
      return (await daemon.post(body, { key, headers, path: "/mcp/desk" })).json;
    };
    const round = pick(await send(call), "result") as Round;
    await reload(row[1]);
    const refused = pick(await send(answers(round)), "error.message");
    expect(refused).toMatch(/Unknown tool.* The call was ended .* may have run: check/);
    const said = () => daemon.place.heard("old").map((message) => pick(message, "method"));
    await until(() => said().includes("notifications/cancelled"), "the server to hear of it");
    await until(async () => (await recorded(daemon)).includes("call.end lost"), "its end is durable");
    await reload({});
    const next = pick(await send(call), "result") as Round;
    expect(resultOf(await send(answers(next)))).toEqual({ result: accept });
  },
);

test("a reload that renames a tool lets a waiting call finish under the new name, and ends it under the old one", async () => {
  await using daemon = await start(config);
  const key = await daemon.place.key("agent");
  const rename = async (ask: string): Promise<void> => {
    daemon.place.configure({ ...config, toolsets: [{ id: "desk", include: ["old:*"], rename: { "old:ask": ask } }] });
    await daemon.place.json("config", "reload");
  };
  const send = async (params: { name: string } & Record<string, unknown>) => {
    const { body, headers } = modern("tools/call", params, declares);
    return daemon.post(body, { key, headers, path: "/mcp/desk" });
  };
  const wait = async (): Promise<Record<string, unknown>> => {
    await rename("before");
    const round = pick((await send({ ...call, name: "before" })).json, "result") as Round;
    await rename("after");
    return answers(round);
  };
  const retry = await wait();
  const other = await send({ ...retry, name: "old__echo" });
  expect(pick(other.json, "error.message")).toContain("was not given to you for this request");
  expect(resultOf((await send({ ...retry, name: "after" })).json)).toEqual({ result: accept });
  const refused = pick((await send({ ...(await wait()), name: "before" })).json, "error.message");
  expect(refused).toMatch(/Unknown tool.* The call was ended .* may have run: check/);
  const said = () => daemon.place.heard("old").map((message) => pick(message, "method"));
  await until(() => said().includes("notifications/cancelled"), "the server to hear of it");
});

async function listen(daemon: Daemon, key: string, notifications: Record<string, unknown>, meta = {}) {
  const { body, headers } = modern("subscriptions/listen", { notifications }, { id: "L", meta });
  const controller = new AbortController();
  const response = await daemon.send(body, { key, headers, signal: controller.signal });
  const said: Said[] = [];
  const ended = (async () => {
    try {
      for await (const event of eventsOf(response)) said.push(event as Said);
    } catch {
      // It was cut off.
    }
  })();
  await until(() => said.length > 0, "an acknowledgement");
  return { said, ended, leave: () => controller.abort() };
}

const updated = { method: "notifications/resources/updated", params: { uri: "test://a" } };

const announce = (daemon: Daemon, key: string, server: string) => {
  const { body, headers } = modern("tools/call", { name: `${server}__announce`, arguments: updated });
  return daemon.post(body, { key, headers });
};

test("a modern client is notified of an old server's resource, and of the end in order when the gateway stops", async () => {
  await using daemon = await start(config);
  const key = await daemon.place.key("agent");
  const uri = "mcpgw+old:test://a";
  const client = await listen(daemon, key, { toolsListChanged: true, resourceSubscriptions: [uri, "test://nowhere"] });
  const meta = { "io.modelcontextprotocol/subscriptionId": "L" };
  expect(client.said[0]).toMatchObject({
    method: "notifications/subscriptions/acknowledged",
    params: { _meta: meta, notifications: { toolsListChanged: true, resourceSubscriptions: [uri] } },
  });
  await announce(daemon, key, "other");
  await announce(daemon, key, "old");
  await until(() => client.said.length > 1, "the news");
  expect(client.said.slice(1)).toMatchObject([
    { method: "notifications/resources/updated", params: { uri, _meta: meta } },
  ]);
  expect(await daemon.get("/metrics").then(({ text }) => text)).toContain("mcp_gateway_listens 1");
  const records = await daemon.place.records();
  expect(records.filter(({ method }) => method === "subscriptions/listen")).toMatchObject([
    { type: "call.end", st: "ok", facts: { opens: "subscription", lists: "tools", resources: 1 } },
  ]);
  void daemon.stop();
  await client.ended;
  expect(client.said.at(-1)).toMatchObject({ id: "L", result: { resultType: "complete", _meta: meta } });
});

const knowsTasks = { extensions: { "io.modelcontextprotocol/tasks": {} } };
const running = { taskId: "t-1", status: "working", ttlMs: 60_000 };
const finished = { ...running, status: "completed", result: { content: [{ type: "text", text: "42 rows" }] } };

/** Starts a server whose tool answers with a task, and which reports the task's states to subscribers. */
const tasksServer: Answer = ({ id, method, params }) => {
  if (method === "server/discover")
    return reply(id, {
      resultType: "complete",
      supportedVersions: ["2026-07-28"],
      capabilities: { tools: {}, ...knowsTasks },
    });
  if (method === "tools/list") {
    const tools = [{ name: "export", inputSchema: { type: "object" } }];
    return reply(id, { resultType: "complete", tools });
  }
  if (method === "tools/call") return reply(id, { resultType: "task", ...running });
  if (method !== "subscriptions/listen") return null;
  const told = (name: string, said: object): string =>
    event({
      jsonrpc: "2.0",
      method: `notifications/${name}`,
      params: { ...said, _meta: { "io.modelcontextprotocol/subscriptionId": id } },
    });
  const { notifications } = params ?? {};
  const said = told("subscriptions/acknowledged", { notifications }) + told("tasks", running) + told("tasks", finished);
  // The stream stays open.
  const body = new ReadableStream({ start: (stream) => stream.enqueue(said) });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
};

test("D6: a task whose tool is allowed only with certain arguments is reported like any other, and its outcome is recorded", async () => {
  using server = serve(tasksServer);
  const when = { "args.region": { eq: "eu" } };
  await using daemon = await start({
    servers: [{ id: "crm", url: server.url }],
    policies: [{ id: "exports", roles: ["user"], rules: [{ tool: "crm:export", when, action: "allow" }] }],
  });
  const key = await daemon.place.key("agent");
  const meta = { "io.modelcontextprotocol/clientCapabilities": knowsTasks };
  const { body, headers } = modern("tools/call", { name: "crm__export", arguments: { region: "eu" } }, { meta });
  const taskId = pick((await daemon.post(body, { key, headers })).json, "result.taskId");
  const client = await listen(daemon, key, { taskIds: [taskId] }, meta);
  expect(pick(client.said[0], "params.notifications")).toEqual({ taskIds: [taskId] });
  await until(() => client.said.length > 2, "the news");
  expect(client.said[1]).toMatchObject({ method: "notifications/tasks", params: { taskId, status: "working" } });
  expect(client.said[2]).toMatchObject({ params: { taskId, result: finished.result } });
  const records = await daemon.place.records();
  const told = records.filter(
    ({ type, method, srv }) => type === "call.end" && method === "subscriptions/listen" && srv,
  );
  expect(told).toMatchObject([{ tool: "export", st: "ok", consumer: "agent" }]);
  expect(told[0]?.["rl"]).toBeGreaterThan(JSON.stringify(finished).length);
  client.leave();
  await client.ended;
});

test("a reload that removes a server ends the streams that were about it, and no others", async () => {
  await using daemon = await start(config);
  const key = await daemon.place.key("agent");
  const [gone, stays] = [
    await listen(daemon, key, { resourceSubscriptions: ["mcpgw+other:test://a"] }),
    await listen(daemon, key, { resourceSubscriptions: ["mcpgw+old:test://a"] }),
  ];
  daemon.place.configure({ ...config, servers: config.servers.slice(0, 1) });
  daemon.child.kill("SIGHUP");
  await gone.ended;
  expect(gone.said.at(-1)).toMatchObject({ id: "L", result: { resultType: "complete" } });
  await announce(daemon, key, "old");
  await until(() => stays.said.length > 1, "the news");
  stays.leave();
  await stays.ended;
});

test("T42: a stream ends when its caller's key is revoked", async () => {
  await using daemon = await start(config);
  const { id, key } = await daemon.place.newKey("leaver");
  const client = await listen(daemon, key, { toolsListChanged: true });
  await daemon.place.json("keys", "revoke", id);
  await client.ended;
  expect(JSON.stringify(client.said.at(-1))).not.toContain('"result"');
});
