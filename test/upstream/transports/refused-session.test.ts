import { expect, test } from "bun:test";
import type { Failure } from "../../../src/core/failure.ts";
import { isCall, type Message, refusal, serveSessions } from "../../support/mcp-server.ts";
import { http, listed, textOf, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

/** A server with numbered sessions; the test says what it refuses in a session, or in a handshake (session null). */
function serveRefusing(refuse: (message: Message, session: string | null) => Response | null) {
  const server = serveSessions((message, session) =>
    message.method === "server/discover" || message.id === undefined ? null : refuse(message, session),
  );
  // The first session is the gateway's own.
  const pings = (): number => server.of("ping").filter(({ headers }) => headers.get("mcp-session-id") !== "s1").length;
  return { ...server, pings };
}

/** Makes calls for one caller, who uses the second session. */
async function called(server: { url: string }) {
  const set = await listed([http("a", server.url, { getStream: "off", protocol: "legacy" })]);
  const call = (): Promise<string> => set.ask("a", "t").then(textOf, ({ code }: Failure) => code);
  const calls = async (count: number): Promise<string[]> => {
    const said: string[] = [];
    for (let i = 0; i < count; i++) said.push(await call());
    return said;
  };
  return { call, calls, status: () => set.status()[0], [Symbol.asyncDispose]: () => set[Symbol.asyncDispose]() };
}

const plain = (status: number) => (): Response => new Response("that id means nothing to this node", { status });

test.each([
  ["422 text", plain(422)],
  ["422 JSON", ({ id }: Message) => refusal(id, -32099, "no such conversation", 422)],
  ["403 text", plain(403)],
  ["401 text", plain(401)],
  ["400 text", plain(400)],
  ["500 text", plain(500)],
])(
  "FIELD T45: a session that is lost with an unclear message (%s) is reopened, and no call is repeated",
  async (_, words) => {
    let lost = "";
    using server = serveRefusing((message, session) => (session === lost ? words(message) : null));
    await using set = await called(server);
    expect(await set.calls(1)).toEqual(["ok"]);
    lost = "s2";
    expect((await set.calls(3)).filter((said) => said === "ok")).toEqual([]);
    await until(() => server.opened() === 3, "another session");
    expect(await set.calls(3)).toEqual(["ok", "ok", "ok"]);
    expect([server.of("tools/call").length, set.status()?.restarts]).toEqual([7, 0]);
  },
);

test.each([401, 403])(
  "refused credentials (%i) do not cause session after session, and are reported as such",
  async (status) => {
    let revoked = false;
    using server = serveRefusing((_, session) => (revoked && session !== "s1" ? new Response("no", { status }) : null));
    await using set = await called(server);
    expect(await set.calls(1)).toEqual(["ok"]);
    revoked = true;
    await set.calls(3);
    await until(() => server.of("initialize").length === 3, "the one attempt");
    expect(new Set(await set.calls(20))).toEqual(new Set(["upstream-down"]));
    expect([server.pings(), server.of("initialize").length, server.opened()]).toEqual([1, 3, 2]);
    revoked = false;
    expect(await set.calls(2)).toEqual(["ok", "ok"]);
    expect([server.opened(), set.status()?.restarts]).toEqual([2, 0]);
  },
);

test.each([200, 400])(
  "a session that may not be the reason is kept if the server opens no other (%i)",
  async (status) => {
    let refuses = false;
    using server = serveRefusing(({ id, method }, session) => {
      if (!refuses || session === "s1") return null;
      return method === "initialize" ? refusal(id, -32000, "there is a session already", status) : plain(403)();
    });
    await using set = await called(server);
    expect(await set.calls(1)).toEqual(["ok"]);
    refuses = true;
    await set.calls(3);
    await until(() => server.of("initialize").length === 3, "the one attempt");
    expect(new Set(await set.calls(3))).toEqual(new Set(["upstream-down"]));
    refuses = false;
    expect(await set.calls(2)).toEqual(["ok", "ok"]);
    expect([server.opened(), set.status()?.restarts]).toEqual([2, 0]);
  },
);

test.each([
  ["accepts a ping", () => null],
  ["has no ping", ({ id }: Message) => refusal(id, -32601, "unknown method", 400)],
])("a session that %s is kept, whatever else is refused in it", async (_, ping) => {
  using server = serveRefusing((message, session) => {
    if (isCall(message)) return plain(403)();
    return message.method === "ping" && session !== "s1" ? ping(message) : null;
  });
  await using set = await called(server);
  await until(async () => (await set.calls(3), server.pings() > 2), "some pings");
  expect(server.opened()).toBe(2);
});

test("if a new session is refused too, no other is opened until a request has succeeded", async () => {
  let broken = false;
  using server = serveRefusing((_, session) => (broken && session !== "s1" && session !== null ? plain(422)() : null));
  await using set = await called(server);
  expect(await set.calls(1)).toEqual(["ok"]);
  for (const opened of [3, 4]) {
    broken = true;
    await set.calls(3);
    await until(() => server.opened() === opened, "another session");
    await set.calls(10);
    expect(server.opened()).toBe(opened);
    broken = false;
    expect(await set.calls(1)).toEqual(["ok"]);
  }
});

test.each([408, 429, 502, 503])(
  "a busy or unavailable server (%i) is not asked for another session",
  async (status) => {
    let busy = false;
    using server = serveRefusing((_, session) => (busy && session !== "s1" ? new Response("later", { status }) : null));
    await using set = await called(server);
    expect(await set.calls(1)).toEqual(["ok"]);
    busy = true;
    await set.calls(10);
    busy = false;
    expect(await set.calls(1)).toEqual(["ok"]);
    expect([server.pings(), server.opened()]).toEqual([0, 2]);
  },
);

test("a server that refuses every ping with an error is not asked for another session for that", async () => {
  let pings = 0;
  const many = Promise.withResolvers<void>();
  using server = serveRefusing(({ id, method }) => {
    if (method !== "ping") return null;
    if (++pings === 12) many.resolve();
    return refusal(id, -32600, "unsupported", 400);
  });
  const options = { ...http("a", server.url, { getStream: "off", protocol: "legacy" }), healthCheck: 20 };
  await using set = upstreams([options]);
  // A check may take as long as the interval between two checks.
  options.healthCheck = 10_000;
  await set.settled();
  await many.promise;
  expect([server.opened(), set.status()[0]?.restarts]).toEqual([1, 0]);
});
