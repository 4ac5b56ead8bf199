import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "node:net";
import { type Daemon, everything, fake, start, strongKey } from "../support/daemon.ts";
import { initialize, modern, pick, request, toolCall } from "../support/wire.ts";

// Authentication: every failure is refused before anything else is examined.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

let daemon: Daemon;
let key: string;
let other: string;

const configured = (id: string) => ({ id, key: strongKey(), consumerId: id, roles: ["user"] });
const near = { ...configured("near"), cidrs: ["127.0.0.0/8"] };
const here = { ...configured("here"), cidrs: ["127.0.0.1"] };
const away = { ...configured("away"), cidrs: ["192.0.2.0/24"] };
const disabled = { ...configured("off"), enabled: false };
const config = {
  auth: { type: "api-key", keys: [near, here, away, disabled] },
  servers: [fake("fake")],
  policies: [everything()],
};

beforeAll(async () => {
  daemon = await start(config);
  key = await daemon.place.key("alice");
  other = await daemon.place.key("bob");
});
afterAll(() => daemon[Symbol.asyncDispose]());

const post = (headers: Record<string, string>, body: unknown = request("tools/list", {}, "who")) =>
  daemon.post(body, { headers });

test("S30: without a credential every method gets 401, in both eras, with a challenge and the id", async () => {
  const calls = [
    { body: initialize("2025-11-25", "who"), headers: {} },
    { body: request("ping", {}, "who"), headers: {} },
    { body: toolCall("fake__echo", {}, "who"), headers: {} },
    { body: request("no/such", {}, "who"), headers: {} },
    { body: '{"id":"who", broken', headers: {} },
    modern("server/discover", {}, { id: "who" }),
    modern("tools/call", { name: "fake__echo" }, { id: "who" }),
  ];
  for (const { body, headers } of calls) {
    const answer = await post(headers, body);
    expect(answer.status).toBe(401);
    expect(answer.json).toMatchObject({ id: "who", error: { code: -31401 } });
    expect(answer.headers.get("www-authenticate")).toStartWith("Bearer");
    expect(answer.headers.has("mcp-session-id")).toBe(false);
  }
  expect((await daemon.get("/mcp", { accept: "text/event-stream" })).status).toBe(401);
  expect((await fetch(`${daemon.url}/mcp`, { method: "DELETE" })).status).toBe(401);
});

test.each([
  ["Authorization", (value: string) => ({ authorization: `Bearer ${value}` })],
  ["Authorization in lower case", (value: string) => ({ authorization: `bearer ${value}` })],
  ["X-API-Key", (value: string) => ({ "x-api-key": value })],
] as const)("R3: a key is accepted in %s", async (_name, headers) => {
  expect((await post(headers(key))).json).toMatchObject({ id: "who", result: {} });
});

test("R37: a key is accepted from within its networks", async () => {
  expect((await post({ "x-api-key": near.key })).status).toBe(200);
});

test.each([
  ["two credentials", () => ({ authorization: `Bearer ${key}`, "x-api-key": key })],
  ["two keys joined by a comma", () => ({ "x-api-key": `${key}, ${key}` })],
  ["two bearer tokens joined by a comma", () => ({ authorization: `Bearer ${key}, Bearer ${key}` })],
] as const)("S30: %s get 400, though each is valid", async (_name, headers) => {
  const answer = await post(headers());
  expect(answer.status).toBe(400);
  expect(answer.json).toMatchObject({ id: "who", error: { code: -31400 } });
});

test.each([
  ["R37: a key used from outside its networks", () => ({ authorization: `Bearer ${away.key}` })],
  ["R3: a disabled key", () => ({ authorization: `Bearer ${disabled.key}` })],
  ["S30: another scheme", () => ({ authorization: `Basic ${btoa(`user:${key}`)}` })],
  ["S30: an empty bearer token", () => ({ authorization: "Bearer" })],
  ["S30: a key with one extra character", () => ({ "x-api-key": `${key}x` })],
] as const)("%s gets 401", async (_name, headers) => {
  const answer = await post(headers());
  expect(answer.status).toBe(401);
  expect(pick(answer.json, "error.code")).toBe(-31401);
});

test("S30: a key in the query string is ignored", async () => {
  const answer = await fetch(`${daemon.url}/mcp?key=${key}&api_key=${key}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request("tools/list")),
  });
  expect(answer.status).toBe(401);
});

test("S08: another caller's session is answered like one that does not exist, and is not harmed", async () => {
  const mine = await daemon.session(key);
  const unknown = { ...mine, "mcp-session-id": "A".repeat(43) };
  const body = request("tools/list", {}, "s");
  const theirs = await daemon.post(body, { key: other, headers: mine });
  const never = await daemon.post(body, { key: other, headers: unknown });
  expect(theirs.status).toBe(404);
  expect(pick(theirs.json, "error.code")).toBe(-32001);
  expect(theirs.text).toBe(never.text);
  const as = (session: Record<string, string>, who: string) => ({ ...session, authorization: `Bearer ${who}` });
  expect((await daemon.get("/mcp", { ...as(mine, other), accept: "text/event-stream" })).status).toBe(404);
  expect((await fetch(`${daemon.url}/mcp`, { method: "DELETE", headers: as(mine, other) })).status).toBe(404);
  expect((await daemon.post(body, { key, headers: mine })).json).toMatchObject({ result: {} });
  expect((await fetch(`${daemon.url}/mcp`, { method: "DELETE", headers: as(mine, key) })).status).toBe(204);
  expect((await daemon.post(body, { key, headers: mine })).status).toBe(404);
});

test("S01: a foreign Host or Origin gets 403 on every route", async () => {
  for (const path of ["/mcp", "/live", "/ready", "/metrics"]) {
    for (const headers of [{ host: "evil.test" }, { origin: "https://evil.test" }] as Record<string, string>[]) {
      expect([path, (await daemon.get(path, headers)).status]).toEqual([path, 403]);
    }
  }
  const own = await daemon.post(request("ping"), { key, headers: { origin: daemon.url } });
  expect(own.status).toBe(200);
});

test("S30: guessing is slowed down, and a valid key from the same address still passes", async () => {
  await using guarded = await start({ ...config, auth: { type: "api-key" } });
  const good = await guarded.place.key("alice");
  const statuses: number[] = [];
  for (let i = 0; i < 12; i++) {
    statuses.push((await guarded.post(request("ping"), { key: `mgw_live_guess${i}` })).status);
  }
  expect(statuses).toEqual([...Array<number>(11).fill(401), 429]);
  const throttled = await guarded.post(request("ping", {}, "t"), { key: "mgw_live_guess" });
  expect(throttled.headers.get("retry-after")).toMatch(/^\d+$/);
  expect(throttled.json).toMatchObject({ id: "t", error: { code: -31429, data: { retryable: true } } });
  expect((await guarded.post(request("ping"), { key: good })).status).toBe(200);
  await guarded.stop();
  const failed = (await guarded.place.records()).filter(({ type }) => type === "auth.failed");
  // One record per source at once, and one with the count of the rest.
  expect(failed.length).toBeLessThan(5);
  expect(failed.reduce((sum, { count }) => sum + Number(count ?? 1), 0)).toBe(13);
  expect(failed[0]).toMatchObject({ st: "auth-failed", src: "http:127.0.0.1" });
  expect(JSON.stringify(failed)).not.toContain("guess");
});

test("R8: the use of a revoked key, or of a key from another network, is recorded, whatever else is tried from there", async () => {
  await using leaky = await start(config);
  const { place } = leaky;
  const leaked = await place.newKey("alice");
  await place.json("keys", "revoke", leaked.id);
  for (const each of ["mgw_live_guess", leaked.key, away.key, leaked.key, "mgw_live_guess"]) {
    expect((await leaky.post(request("ping"), { key: each })).status).toBe(401);
  }
  await leaky.stop();
  const { stdout } = await place.cli(["audit", "log", "--type", "auth.failed"]);
  const told = [...stdout.matchAll(/count=(\d+) cause=(.+)$/gm)].map(([, count, cause]) => `${count} ${cause}`);
  expect(told.toSorted()).toEqual([
    "1 key away used from another network",
    "1 mistyped or truncated",
    "1 mistyped or truncated",
    `2 key ${leaked.id} is revoked`,
  ]);
});

test("R81: without authentication only direct requests from this machine are served, as anonymous", async () => {
  await using open = await start({ ...config, auth: { type: "none", roles: ["user"] } });
  const shown = { auth: "none: every local caller is anonymous (user)", frozen: false };
  expect((await open.get("/ready")).json).toMatchObject(shown);
  expect(await open.place.json("status")).toMatchObject(shown);
  expect((await open.post(toolCall("fake__echo", {}))).json).toMatchObject({ result: {} });
  const forwarded = [{ "x-forwarded-for": "127.0.0.1" }, { forwarded: "for=127.0.0.1" }, { "x-real-ip": "127.0.0.1" }];
  for (const headers of forwarded as Record<string, string>[]) {
    expect((await open.post(request("ping"), { headers })).status).toBe(401);
  }
  expect(await open.place.json("status")).toMatchObject({ auth: expect.stringContaining("none") });
  const call = (await open.place.records()).find(({ type }) => type === "call.begin");
  expect(call).toMatchObject({ subj: "anonymous", roles: ["user"] });
});

test.skipIf(process.platform !== "linux")(
  "S31: a client that disconnects before its request is read does not match the addresses of a key (needs Linux)",
  async () => {
    const body = JSON.stringify(toolCall("fake__echo", {}));
    const lines = ["Host: 127.0.0.1", `Authorization: Bearer ${here.key}`, "Content-Type: application/json"];
    const head = ["POST /mcp HTTP/1.1", ...lines, `Content-Length: ${body.length}`, "", ""].join("\r\n");
    const { port } = new URL(daemon.url);
    daemon.child.kill("SIGSTOP");
    const socket = connect({ port: Number(port), host: "127.0.0.1", localAddress: "127.0.0.9" });
    await new Promise<void>((resolve) => socket.write(head + body, () => resolve()));
    socket.resetAndDestroy();
    daemon.child.kill("SIGCONT");
    // The aborted request arrived before this one, so it has been handled by now.
    expect((await daemon.call("fake__echo", {}, key)).status).toBe(200);
    const records = await daemon.place.records();
    expect(records.filter(({ caller }) => caller === here.consumerId)).toEqual([]);
  },
);
