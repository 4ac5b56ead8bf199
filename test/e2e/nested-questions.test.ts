import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, fake, start } from "../support/daemon.ts";
import { refusal, reply, serve } from "../support/mcp-server.ts";
import { connectAnswering } from "../support/sdk-answers.ts";
import { modern, pick, request, resultOf, textOf } from "../support/wire.ts";

// Questions of a server during a call through `mcpgw__call`, and to clients that declared nothing. A guardrail lets
// only these servers ask; the gateway itself, which owns the outer call's tool, may not.

setDefaultTimeout(30_000);

const visit = { mode: "url", message: "Sign in", url: "https://signs.example/", elicitationId: "e1" };
const signs = serve(({ id, method }) => {
  if (method === "tools/list") return reply(id, { tools: [{ name: "read", inputSchema: { type: "object" } }] });
  return method === "tools/call" ? refusal(id, -32042, "Sign in first", 200, { elicitations: [visit] }) : null;
});
let daemon: Daemon;
beforeAll(async () => {
  daemon = await start({
    servers: [fake("old"), { id: "signs", url: signs.url, protocol: "legacy" }],
    rules: [
      ...["old", "signs"].map((server) => ({ action: "allow", input: "*", server, priority: 1 })),
      { action: "deny", input: "*", reason: "only servers may ask" },
    ],
    policies: [{ id: "all", roles: ["user"], rules: [{ server: "mcpgw", action: "allow" }, { action: "allow" }] }],
  });
});
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  signs[Symbol.dispose]();
});

const question = {
  method: "elicitation/create",
  params: { message: "?", requestedSchema: { type: "object", properties: {} } },
};
const asks = { name: "mcpgw__call", arguments: { tool: "old:ask", arguments: question } };
const sendsAway = { name: "mcpgw__call", arguments: { tool: "signs:read", arguments: {} } };
const capabilities = { elicitation: { form: {}, url: {} } };

/** Returns the recorded question steps of one caller, with the asking server. */
const steps = async (consumer: string) =>
  (await daemon.place.records())
    .filter((record) => record.type === "call.input" && record["consumer"] === consumer)
    .map(({ srv, facts }) => `${srv} ${String(pick(facts, "outcome"))}`);

/** Returns a function that calls as a client with a session, which accepts streams unless `accept` says otherwise. */
async function sender(key: string, accept: object) {
  const headers = { ...(await daemon.session(key, "2025-11-25", { capabilities })), ...accept };
  return (params: object) => daemon.post(request("tools/call", { ...params }), { key, headers });
}

test("R27: a client with a session is asked once on the stream of its own call, and that is recorded once", async () => {
  const key = await daemon.place.key("streams");
  await using client = await connectAnswering("1.x", `${daemon.url}/mcp`, key);
  const result = await client.call(asks.name, asks.arguments);
  expect(resultOf({ result })).toEqual({ result: { action: "accept", content: {} } });
  expect(client.asked.map(({ method }) => method)).toEqual(["elicitation/create"]);
  expect(await steps("streams")).toEqual(["old asked", "old accept"]);
});

test("R27: a client with a session is sent to a URL by the same error as for a direct call", async () => {
  const send = await sender(await daemon.place.key("visits"), {});
  const direct = pick((await send({ name: "signs__read", arguments: {} })).json, "error");
  expect(direct).toMatchObject({ code: -32042, data: { elicitations: [visit] } });
  expect(pick((await send(sendsAway)).json, "error")).toEqual(direct);
  expect(await steps("visits")).toEqual(["signs asked", "signs asked"]);
});

test("R27: a client that accepts no stream is not asked, and that is recorded", async () => {
  const send = await sender(await daemon.place.key("single"), { accept: "application/json" });
  expect((await send(asks)).text).toContain("this client cannot be asked");
  expect(await steps("single")).toEqual(["old refused"]);
});

test("R27: a client of 2026-07-28 is not asked but told to call the tool directly, and no call is left waiting", async () => {
  const key = await daemon.place.key("rounds");
  const meta = { "io.modelcontextprotocol/clientCapabilities": capabilities };
  for (const params of [asks, sendsAway]) {
    const { body, headers } = modern("tools/call", params, { meta });
    const { json } = await daemon.post(body, { key, headers });
    expect(pick(json, "result.resultType")).toBe("complete");
    expect(textOf(json)).toContain("call the tool directly");
  }
  expect(await steps("rounds")).toEqual(["old refused", "signs refused"]);
  expect((await daemon.get("/metrics")).text).toContain("mcp_gateway_parked_calls 0");
});

test.each(["2025-11-25", "2026-07-28"] as const)(
  "questions to a client of %s that declared nothing are refused, and that is recorded",
  async (revision) => {
    const consumer = `nothing-${revision}`;
    const key = await daemon.place.key(consumer);
    const params = { name: "old__ask", arguments: question };
    const { body, headers } =
      revision === "2026-07-28"
        ? modern("tools/call", params)
        : { body: request("tools/call", params), headers: await daemon.session(key) };
    const { json } = await daemon.post(body, { key, headers });
    expect(textOf(json)).toContain("asks for elicitation/create, but the client did not declare elicitation.");
    expect(await steps(consumer)).toEqual(["old refused"]);
  },
);
