import { expect, setDefaultTimeout, test } from "bun:test";
import { everything, fake, Place, servesParent, start } from "../support/daemon.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { until } from "../support/until.ts";
import { pick, request, toolCall } from "../support/wire.ts";

// What a revoked key ends, and what an invalid one leaves behind, on every transport.

setDefaultTimeout(30_000);

const config = { servers: [{ ...fake("fake"), isolation: "shared" }], policies: [everything()] };
const keyAlone = { type: "api-key" };

test("T42: a call on a shared server ends when its caller's key is revoked; other callers' calls continue", async () => {
  await using daemon = await start(config);
  const { id, key } = await daemon.place.newKey("leaver");
  const bystander = await daemon.place.key("bystander");
  const hung = daemon.post(toolCall("fake__hang", {}), { key });
  await until(() => daemon.place.calls("fake").length === 1, "the call runs");
  await daemon.place.json("keys", "revoke", id);
  const revoked = performance.now();
  const { status, json } = await hung;
  expect(performance.now() - revoked).toBeLessThan(1000);
  expect(status).toBe(401);
  const message = "The key was revoked while the call ran. The call may have run: check before you repeat it.";
  expect(json).toMatchObject({ error: { code: -31401, message } });
  expect((await daemon.post(toolCall("fake__echo", { text: "still here" }), { key: bystander })).json).toMatchObject({
    result: {},
  });
  const ends = (await daemon.place.records()).filter(({ type, tool }) => type === "call.end" && tool === "hang");
  expect(ends).toMatchObject([{ st: "cancelled" }]);
});

test("T42: evidence shows whether a revocation or a freeze ended a call and its session", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const leaver = await place.newKey("leaver");
  const stayer = await place.newKey("stayer");
  const sessions = await Promise.all([leaver, stayer].map(({ key }) => daemon.session(key)));
  const [first, second] = [leaver, stayer].map(({ key }, at) =>
    daemon.post(toolCall("fake__hang", {}), { key, headers: sessions[at] ?? {} }),
  );
  await until(() => place.calls("fake").length === 2, "the calls run");
  await place.json("keys", "revoke", leaver.id);
  expect(pick((await first)?.json, "error.message")).toContain("The key was revoked while the call ran.");
  await place.json("keys", "freeze");
  expect(pick((await second)?.json, "error.message")).toContain("All callers were frozen while the call ran.");
  const closed = (await place.records()).filter(({ type }) => type === "session.close");
  expect(closed.map(({ facts }) => facts)).toMatchObject([{ reason: "revoked" }, { reason: "frozen" }]);
});

test("T42: `serve` beside a daemon answers the call that a revocation ends, and reports what ended it", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const leaver = await place.newKey("leaver");
  const stayer = await place.newKey("stayer");
  await using running = new AsyncDisposableStack();
  const clients = [leaver, stayer].map(({ key }) => running.use(new StdioClient(place, { MCPGW_API_KEY: key })));
  await Promise.all(clients.map((client) => client.open()));
  const hung = clients.map((client) => client.call("fake__hang", {}, "hung"));
  await until(() => place.calls("fake").length === 2, "the calls run");
  const lose = async (at: number, act: string[], cause: string): Promise<void> => {
    await place.json("keys", ...act);
    expect(pick(await hung[at], "error.message")).toBe(
      `${cause} while the call ran. The call may have run: check before you repeat it.`,
    );
    expect(await clients[at]?.child.exited).toBe(1);
    expect(await clients[at]?.stderr).toBe(`mcpgw: the connection to the daemon ended: ${cause}.\n`);
  };
  await lose(0, ["revoke", leaver.id], "The key was revoked");
  await lose(1, ["freeze"], "All callers were frozen");
});

test("T42: a reload that admits callers without a key ends the tunnels of keys, whose sessions would belong to another caller", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const { key } = await place.newKey("agent");
  await using client = new StdioClient(place, { MCPGW_API_KEY: key });
  await client.open();
  place.configure({ ...config, auth: { type: "none", roles: ["user"] } });
  await place.json("config", "reload");
  expect(await client.child.exited).toBe(1);
  const told = "A reload of the configuration ended or changed your rights.";
  expect(await client.stderr).toBe(`mcpgw: the connection to the daemon ended: ${told}\n`);
  await using again = new StdioClient(place, { MCPGW_API_KEY: key });
  await again.open();
  expect(await again.call("fake__echo", { text: "hello" })).toMatchObject({ result: {} });
});

test("T42: results that a client of `serve` has not read when its key is revoked stay with the daemon", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const { id, key } = await place.newKey("leaver");
  await using client = new StdioClient(place, { MCPGW_API_KEY: key });
  await client.open();
  const reading = Promise.withResolvers<void>();
  client.hold = reading.promise;
  for (let call = 0; call < 6; call++) client.send(toolCall("fake__big", { size: 4_000_000 }, call));
  const ended = async () => (await place.records()).filter(({ type }) => type === "call.end").length;
  await until(async () => (await ended()) === 6, "the results are ready");
  await place.json("keys", "revoke", id);
  const closed = async () => (await place.records()).some(({ type }) => type === "session.close");
  await until(closed, "the tunnel to close");
  reading.resolve();
  expect(await client.child.exited).toBe(1);
  const read = client.lines.filter((line) => line.length > 1_000_000);
  expect(read.length).toBeLessThan(3);
});

test("R8: an invalid key is recorded and counted on GET, DELETE and /metrics too", async () => {
  await using daemon = await start(config);
  const headers = { authorization: "Bearer not-a-key-of-this-gateway", accept: "text/event-stream" };
  expect((await fetch(`${daemon.url}/mcp`, { headers })).status).toBe(401);
  expect((await fetch(`${daemon.url}/mcp`, { method: "DELETE", headers })).status).toBe(401);
  const far = { ...headers, "x-forwarded-port": "443" };
  expect((await fetch(`${daemon.url}/metrics`, { headers: far })).status).toBe(401);
  expect(await (await fetch(`${daemon.url}/metrics`)).text()).toContain("mcp_gateway_auth_failures_total 3");
  await until(
    async () =>
      (await daemon.place.records()).some(({ type, src }) => type === "auth.failed" && src === "http:127.0.0.1"),
    "the failure is recorded",
  );
});

test("R8, S08: an attempt to use another caller's session is recorded", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const owner = await place.key("owner");
  const thief = await place.key("thief");
  const headers = { ...(await daemon.session(owner)), authorization: `Bearer ${thief}`, accept: "text/event-stream" };
  for (const method of ["GET", "DELETE"]) {
    expect((await fetch(`${daemon.url}/mcp`, { method, headers })).status).toBe(404);
  }
  const refused = (await place.records()).filter(({ type }) => type === "call.refused");
  expect(refused).toMatchObject(Array.from({ length: 2 }, () => ({ consumer: "thief", src: "http:127.0.0.1" })));
});

test("S23: of an unauthenticated caller's large body only as much is read as the answer needs", async () => {
  await using daemon = await start(config);
  const body = JSON.stringify(request("ping", { padding: "x".repeat(1 << 20) }, "big"));
  const answer = await daemon.post(body, { key: "not-a-key-of-this-gateway" });
  expect(answer.status).toBe(401);
  // Its id is in the part that is not read.
  expect(answer.json).toMatchObject({ id: null, error: { code: -31401 } });
  const small = await daemon.post(request("ping", {}, "small"), { key: "not-a-key-of-this-gateway" });
  expect(small.json).toMatchObject({ id: "small" });
});

test.each<[string, unknown]>([
  ["the parent", servesParent],
  ["a key", keyAlone],
  ["anybody", { type: "none", roles: ["user"] }],
])("T42: after a freeze an embedded gateway sends %s messages outside of calls again", async (_name, auth) => {
  using place = new Place({ ...config, auth, servers: [fake("fake", ["--rich"])] });
  const env = auth === keyAlone ? { MCPGW_API_KEY: await place.key("agent") } : {};
  await using client = new StdioClient(place, env);
  await client.open();
  const subscribed = async () =>
    pick(await client.ask("resources/subscribe", { uri: "test://a" }), "result") !== undefined;
  const isTold = (method: string) => client.got((message) => pick(message, "method") === method);
  expect(await subscribed()).toBe(true);
  await place.json("keys", "freeze");
  await until(async () => !(await subscribed()), "calls are refused");
  await place.json("keys", "unfreeze");
  await until(subscribed, "calls are let through");
  await client.call("fake__announce", { method: "notifications/resources/updated", params: { uri: "test://a" } });
  await isTold("notifications/resources/updated");
  await client.call("fake__switch", { tools: [{ name: "new", inputSchema: { type: "object" } }] });
  await isTold("notifications/tools/list_changed");
});
