import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/core/clock.ts";
import type { AuditEvent } from "../../src/core/event.ts";
import { Failure } from "../../src/core/failure.ts";
import { listenLimits } from "../../src/gateway/listeners.ts";
import { find, type Methods } from "../../src/serve/routes.ts";
import { Door, said } from "../support/front-door.ts";
import { until } from "../support/until.ts";
import { eventsOf, initialize, modern, pick, request, toolCall } from "../support/wire.ts";

// Which handler serves a path, for whom, and what a path reveals about the servers behind it.

describe("paths", () => {
  const named = (name: string): Methods => ({ [name]: () => new Response() });
  const routes = {
    exact: { "/mcp": named("mcp"), "/sse": named("sse"), "/live": named("live"), "/ws": named("ws") },
    scoped: { "/mcp/*": named("mcp"), "/ws/*": named("ws"), "/*/sse": named("sse") },
  };
  test.each([
    ["/mcp", "mcp", null],
    ["/mcp/", "mcp", null],
    ["/mcp/git", "mcp", "git"],
    ["/mcp/git/", "mcp", "git"],
    ["/mcp/sse", "mcp", "sse"],
    ["/git/sse", "sse", "git"],
    ["/ws/git", "ws", "git"],
    ["/live", "live", null],
    ["/mcp/%67it", "mcp", "%67it"],
  ] as const)("FIELD T22, R65: %s is served by %s with scope %p", (path, name, scope) => {
    const found = find(routes, path);
    expect([Object.keys(found?.methods ?? {}), found?.scope]).toEqual([[name], scope]);
  });

  test.each([
    "",
    "/",
    "//",
    "/mcp//",
    "//mcp",
    "/MCP",
    "/mcp/a/b",
    "/a/b/sse",
    "/live/git",
    "/mcp/invoke",
    "/mcp/list-tools",
    "/mcp/servers",
    "/mcp/server",
    "/server/sse",
    "/constructor",
    "/mcp\\git",
  ])("S28, S32: nothing is served at %p", (path) => expect(find(routes, path)?.scope ?? null).toBeNull());
});

const post = (door: Door, path: string, body: unknown = request("tools/list"), headers = {}) =>
  door.post(body, { path, headers });

describe("scopes", () => {
  const scoped = () => new Door((call) => said(String(call.scope)), { scopes: ["git", "docs"] });

  test("a call carries the scope of its endpoint", async () => {
    await using door = scoped();
    for (const [path, scope] of [
      ["/mcp", "null"],
      ["/mcp/", "null"],
      ["/mcp/git", "git"],
      ["/mcp/git/", "git"],
    ]) {
      const answer = await post(door, path ?? "", toolCall("echo"));
      expect(pick(answer.json, "result.content.0.text")).toBe(scope);
    }
  });

  test("S32: an unknown, empty or made-up scope gets the same response as an unknown path, never a wider scope", async () => {
    await using door = scoped();
    const nothing = await post(door, "/nothing");
    expect([nothing.status, nothing.text]).toEqual([404, "Nothing is served at this path; MCP is at /mcp.\n"]);
    for (const scope of ["svn", "*", "null", "GIT", "git%00", "git,docs", "invoke", "__proto__", "git/x"]) {
      for (const method of ["POST", "GET", "DELETE"]) {
        const answer =
          method === "POST" ? await post(door, `/mcp/${scope}`) : await door.request(method, { path: `/mcp/${scope}` });
        const text =
          "text" in answer && typeof answer.text === "string" ? answer.text : await (answer as Response).text();
        expect([scope, answer.status, text]).toEqual([scope, 404, nothing.text]);
      }
      const notification = { jsonrpc: "2.0", method: "notifications/initialized" };
      expect((await post(door, `/mcp/${scope}`, notification)).status).toBe(404);
      expect((await door.request("GET", { path: `/${scope}/sse` })).status).toBe(404);
      expect((await door.request("GET", { path: `/ws/${scope}` })).status).toBe(404);
    }
  });

  test("S32: an unauthenticated client cannot learn which scopes exist", async () => {
    await using door = scoped();
    const answers = await Promise.all(
      ["git", "svn"].map((scope) => door.post(request("tools/list"), { path: `/mcp/${scope}`, key: "" })),
    );
    expect(answers.map(({ status }) => status)).toEqual([401, 401]);
    expect(answers[0]?.text).toBe(answers[1]?.text ?? "");
  });

  test("S08: a session belongs to the endpoint on which it was opened", async () => {
    await using door = scoped();
    const headers = await door.session("2025-11-25", { path: "/mcp/git" });
    expect((await post(door, "/mcp/git", request("ping"), headers)).status).toBe(200);
    for (const path of ["/mcp", "/mcp/docs"]) {
      expect((await post(door, path, request("ping"), headers)).status).toBe(404);
      expect((await door.request("DELETE", { path, headers })).status).toBe(404);
    }
    expect((await door.request("DELETE", { path: "/mcp/git", headers })).status).toBe(204);
  });
});

test("S25: a session whose opening cannot be recorded is not opened, and its initialize is refused and recorded", async () => {
  await using door = new Door(() => said(""));
  const events: string[] = [];
  const recordEvent = ({ type }: AuditEvent) => {
    events.push(type);
    return Promise.reject(new Failure("audit-unavailable", "No log."));
  };
  Object.assign(door.gw, { audit: { ...door.gw.audit, recordEvent } });
  const answer = await door.post(initialize());
  expect([answer.status, answer.headers.get("mcp-session-id")]).toEqual([503, null]);
  expect([door.traffic.sessions, door.ended.map(({ status }) => status)]).toEqual([0, ["unavailable"]]);
  expect(events).toEqual(["session.open"]);
});

test("R8: a refused caller is told so only after the refusal is recorded", async () => {
  await using door = new Door(() => said(""));
  const end = () => Promise.reject(new Failure("audit-unavailable", "No log."));
  Object.assign(door.gw, { audit: { ...door.gw.audit, end } });
  door.who("alice").revoke();
  expect((await door.post(toolCall("echo", {}))).status).toBe(503);
  for (const method of ["GET", "DELETE"]) expect((await door.request(method)).status).toBe(503);
});

describe("GET and DELETE", () => {
  test("FIELD T24: without a session they get 405, which does not count as a client error", async () => {
    await using door = new Door(() => said(""));
    for (const method of ["GET", "DELETE"]) {
      const answer = await door.request(method);
      expect([answer.status, answer.headers.get("allow")]).toEqual([405, "POST"]);
      expect((await door.request(method, { key: "" })).status).toBe(401);
    }
    expect((await door.request("PUT")).headers.get("allow")).toBe("POST, GET, DELETE");
  });

  test("FIELD T14, T46: only Mcp-Session-Id names a session; an unknown one gets 404 on every method", async () => {
    await using door = new Door(() => said(""));
    const { "mcp-session-id": id = "" } = await door.session();
    const wrong = await post(door, "/mcp", request("ping"), { "x-session-id": id, "mcp-session": id });
    expect(wrong.status).toBe(200);
    expect(door.ended.at(-1)?.session).toBeNull();
    const unknown = { "mcp-session-id": "A".repeat(43) };
    expect((await post(door, "/mcp", request("ping"), unknown)).status).toBe(404);
    for (const method of ["GET", "DELETE"]) expect((await door.request(method, { headers: unknown })).status).toBe(404);
    expect((await post(door, "/mcp", initialize(), unknown)).headers.get("mcp-session-id")).not.toBeNull();
  });

  test("R8, S08: the refusal of a request without a message is recorded with its sender", async () => {
    await using door = new Door(() => said(""));
    const own = await door.session();
    const foreign = { headers: own, key: "mallory" };
    const pair = { path: "/messages?sessionId=nobodys", key: "mallory" };
    const refused = [
      () => door.request("GET", foreign),
      () => door.request("DELETE", foreign),
      () => door.request("POST", pair),
      () => door.request("GET", { key: "mallory", path: "/sse", headers: { accept: "application/json" } }),
      () => door.request("GET", { headers: { ...own, accept: "application/json" } }),
      () => door.request("GET", { headers: { ...own, "last-event-id": "9-9" } }),
    ];
    const seen = [];
    for (const ask of refused) {
      const before = door.ended.length;
      const { status } = await ask();
      seen.push([status, ...door.ended.slice(before).map(({ who, failure }) => `${who?.name} ${failure?.code}`)]);
    }
    expect(seen).toEqual([
      ...Array.from({ length: 3 }, () => [404, "key:mallory session-not-found"]),
      [400, "key:mallory invalid-request"],
      ...Array.from({ length: 2 }, () => [400, "key:alice invalid-request"]),
    ]);
    expect(door.ended.map(({ source }) => source.ip)).toEqual(door.ended.map(() => "127.0.0.1"));
    expect(door.ended.every(({ source }) => source.loopback)).toBe(true);
    expect(door.sessions.size).toBe(1);
  });

  test("FIELD T24: an unsupported version is refused on GET and DELETE as on POST, and ends no session", async () => {
    await using door = new Door(() => said(""));
    const session = await door.session("2025-06-18");
    for (const version of ["2099-01-01", "2026-07-28", "bad"]) {
      const headers = { ...session, "mcp-protocol-version": version };
      for (const method of ["GET", "DELETE"]) {
        const answer = await door.request(method, { headers });
        expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining("MCP-Protocol-Version")]);
      }
    }
    const { "mcp-protocol-version": _, ...without } = session;
    expect((await door.request("DELETE", { headers: without })).status).toBe(204);
  });

  test("FIELD T47: a client that never sends its session id is served without a session", async () => {
    await using door = new Door((call) => said(String(call.session?.id ?? "none")));
    await door.session();
    const answer = await post(door, "/mcp", toolCall("echo"), { "mcp-protocol-version": "2025-11-25" });
    expect(pick(answer.json, "result.content.0.text")).toBe("none");
  });

  test("FIELD T8, T42: the key is checked on every request of a session", async () => {
    await using door = new Door(() => said(""));
    const headers = await door.session();
    expect(door.traffic.sessions).toBe(1);
    expect((await door.post(request("ping"), { headers, key: "" })).status).toBe(401);
    expect((await door.request("GET", { headers, key: "" })).status).toBe(401);
    door.who("alice").revoke();
    expect((await door.post(request("ping"), { headers })).status).toBe(401);
    expect([door.sessions.size, door.traffic.sessions]).toEqual([0, 0]);
    expect(door.events).toMatchObject([
      { type: "session.open", consumer: "consumer-alice" },
      { type: "session.close", consumer: "consumer-alice", facts: { reason: "revoked" } },
    ]);
  });
});

describe("the stream outside of calls", () => {
  const listen = async (door: Door, headers: Record<string, string>, more = {}) =>
    door.request("GET", { headers: { ...headers, ...more } });

  test("R112: it gets each change once, a second stream replaces the first, and its end ends the subscription to changes", async () => {
    await using door = new Door(() => said(""));
    const headers = await door.session();
    const first = eventsOf(await listen(door, headers));
    const second = eventsOf(await listen(door, headers));
    expect((await first.next()).done).toBe(true);
    expect([door.notifier.size, door.traffic.streams]).toEqual([1, 1]);
    door.shown = "2";
    door.notifier.changed();
    const methods = new Set<unknown>();
    for (let n = 0; n < 3; n++) methods.add(pick((await second.next()).value, "method"));
    expect(methods).toEqual(
      new Set(["prompts", "resources", "tools"].map((list) => `notifications/${list}/list_changed`)),
    );
    expect((await door.request("DELETE", { headers })).status).toBe(204);
    expect((await second.next()).done).toBe(true);
    expect([door.notifier.size, door.traffic.streams]).toEqual([0, 0]);
  });

  test("D16: a session is asked outside of calls over its own stream, and cannot be asked without one", async () => {
    await using door = new Door(() => said(""));
    const headers = await door.session();
    const other = await door.session();
    const id = headers["mcp-session-id"] ?? "";
    expect(door.notifier.reach(id)).toBeNull();
    const stream = eventsOf(await listen(door, headers));
    await listen(door, other);
    const question = { method: "roots/list", params: "{}" } as const;
    const answer = door.notifier.reach(id)?.ask(question, new AbortController().signal);
    const asked = (await stream.next()).value;
    expect(pick(asked, "method")).toBe("roots/list");
    const reply = { jsonrpc: "2.0", id: pick(asked, "id"), result: { roots: [] } };
    await door.post(reply, { headers: other });
    expect(door.traffic.stray).toBe(1);
    await door.post(reply, { headers });
    expect(await answer).toEqual({ kind: "result", text: '{"roots":[]}' });
  });

  test("a client that reconnects with the last event's id gets what it missed", async () => {
    await using door = new Door(() => said(""));
    const headers = await door.session();
    const owner = door.who("alice").id;
    const log = (data: number) =>
      door.notifier.notice({
        server: "git",
        method: "notifications/message",
        params: JSON.stringify({ level: "info", data }),
        owner,
        session: headers["mcp-session-id"] ?? "",
      });
    const first = eventsOf(await listen(door, headers));
    log(1);
    expect(pick((await first.next()).value, "params.data")).toBe(1);
    log(2);
    const again = eventsOf(await listen(door, headers, { "last-event-id": "0-1" }));
    log(3);
    for (const data of [2, 3]) expect(pick((await again.next()).value, "params.data")).toBe(data);
    await again.return(undefined);
    await until(() => door.traffic.streams === 0, "the gateway to notice");
    expect(door.notifier.reach(headers["mcp-session-id"] ?? "")).toBeNull();
    log(4);
    const back = eventsOf(await listen(door, headers, { "last-event-id": "0-3" }));
    log(5);
    for (const data of [4, 5]) expect(pick((await back.next()).value, "params.data")).toBe(data);
    expect(door.notifier.reach(headers["mcp-session-id"] ?? "")).not.toBeNull();
    await door.request("DELETE", { headers });
    expect(door.notifier.size).toBe(0);
  });

  test("FIELD T43: missed messages are kept for minutes, not for as long as the session lasts", async () => {
    await using door = new Door(() => said(""));
    let skipped = 0;
    Object.assign(door.gw, { clock: { ...systemClock, mono: () => systemClock.mono() + skipped } });
    const headers = await door.session();
    const session = door.sessions.find(headers["mcp-session-id"] ?? "", door.who("alice").id, null);
    if (!session) throw new Error("there is no session");
    await (await listen(door, headers)).body?.cancel();
    await until(() => door.traffic.streams === 0, "the gateway to notice");
    for (const minutes of [4, 6]) {
      expect(door.notifier.size).toBe(1);
      skipped = minutes * 60_000_000;
      door.notifier.notify(session, "notifications/resources/updated", '{"uri":"file:///a"}');
    }
    expect(door.notifier.size).toBe(0);
  });

  test("R23: the stream ends when the key is revoked", async () => {
    await using door = new Door(() => said(""));
    const events = eventsOf(await listen(door, await door.session()));
    door.who("alice").revoke();
    expect((await events.next()).done).toBe(true);
    expect(door.notifier.size).toBe(0);
  });
});

test("S01: a foreign Host or Origin gets 403 on every route", async () => {
  await using door = new Door(() => said(""), { scopes: ["git"] });
  for (const path of ["/mcp", "/mcp/git", "/sse", "/git/sse", "/messages", "/ws", "/ws/git", "/nothing"]) {
    for (const headers of [{ host: "evil.test" }, { origin: "https://evil.test" }] as Record<string, string>[]) {
      expect([path, (await door.request("GET", { path, headers })).status]).toEqual([path, 403]);
    }
  }
});

test("T22: a body is read only as UTF-8 JSON, in any spelling of the headers that say so", async () => {
  await using door = new Door(() => said("done"));
  const status = async (headers: Record<string, string>) =>
    (await post(door, "/mcp", request("tools/list"), headers)).status;
  for (const type of ["application/json", 'Application/JSON; Charset="UTF-8"', "application/json;charset=utf8"]) {
    expect(await status({ "content-type": type, "content-encoding": "identity" })).toBe(200);
  }
  for (const charset of ["utf-16", "iso-8859-1", '"utf-7"']) {
    expect(await status({ "content-type": `application/json; charset=${charset}` })).toBe(415);
  }
  for (const encoding of ["gzip", "br", "identity, gzip"]) {
    expect(await status({ "content-encoding": encoding })).toBe(415);
  }
});

test("a request of 2026-07-28 belongs to no session, even if it names one", async () => {
  const seen: (string | null)[] = [];
  await using door = new Door((call) => (seen.push(call.session?.id ?? null), said("done")));
  const session = await door.session();
  const { body, headers } = modern("tools/call", { name: "echo" });
  for (const id of [session["mcp-session-id"] ?? "", "ended-long-ago"]) {
    expect((await door.post(body, { headers: { ...headers, "mcp-session-id": id } })).status).toBe(200);
  }
  expect((await door.post(toolCall("echo"), { headers: session })).status).toBe(200);
  expect(seen).toEqual([null, null, session["mcp-session-id"] ?? ""]);
});

test("R6: a caller over IPv4 has its IPv4 address in rules and records, even if the gateway listens on IPv6", async () => {
  await using door = new Door(() => said("ran"), { host: "::ffff:127.0.0.1" });
  await fetch(`http://127.0.0.1:${new URL(door.url).port}/mcp`, {
    method: "POST",
    headers: { authorization: "Bearer alice", "content-type": "application/json" },
    body: JSON.stringify(toolCall("echo")),
  });
  expect(door.ended.map(({ source: { ip, loopback } }) => [ip, loopback])).toEqual([["127.0.0.1", true]]);
});

test("a caller refused for lack of capacity gets a Retry-After, even if nobody knows when there will be capacity", async () => {
  await using door = new Door(() => said("ran"));
  const { body, headers } = modern("subscriptions/listen", { notifications: { toolsListChanged: true } });
  const gone = new AbortController();
  const open: Response[] = [];
  while (open.length < listenLimits.perOwner) open.push(await door.send(body, { headers, signal: gone.signal }));
  const refused = await door.post(body, { headers });
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(pick(refused.json, "error.data")).toEqual({ retryable: true });
  // A response without a reference is garbage-collected, which closes its connection.
  expect(open.every(({ ok }) => ok)).toBe(true);
  gone.abort();
});
