import { expect, test } from "bun:test";
import type { Failure } from "../../../src/core/failure.ts";
import { type ServerOptions, stdioOptions } from "../../../src/upstream/options.ts";
import { rejectionOf } from "../../support/failure.ts";
import { events, refusal, reply, serve, serveDying } from "../../support/mcp-server.ts";
import { principal } from "../../support/principal.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { fakeArgs, http, listed } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

/** Returns the failure of a call whose instance fails in its handshake, after the gateway's own has started. */
async function failedStart(options: ServerOptions): Promise<Failure> {
  await using set = await listed([options]);
  expect(set.status()[0]?.state).toBe("ready");
  return await rejectionOf(set.ask("a", "echo"));
}

function expectUnsent({ code, message }: Failure): void {
  expect(code).toBe("upstream-down");
  expect(message).toEndWith("The call did not run.");
}

test("a call whose process exits during the handshake did not run", async () => {
  using at = new TempDir();
  const script = 'if mkdir "$0"; then exec "$@"; else read -r line; exit 1; fi';
  const args = ["-c", script, at.path("started"), process.execPath, ...fakeArgs()];
  const failure = await failedStart(stdioOptions.parse({ id: "a", command: "sh", args, protocol: "legacy" }));
  expectUnsent(failure);
  expect(failure.message).toContain("exited with code 1");
});

type Leave = (set: Awaited<ReturnType<typeof listed>>, who: ReturnType<typeof principal>) => void;
const departures: [how: string, leave: Leave][] = [
  ["its key is revoked", (_, who) => who.revoke()],
  ["its session ends", (set) => set.endSession("s1")],
];

test.each(departures)(
  "T42: a process that is silent in its handshake is ended with its caller: %s",
  async (_how, leave) => {
    using at = new TempDir();
    const script = 'if mkdir "$0"; then exec "$@"; else exec cat > /dev/null; fi';
    const args = ["-c", script, at.path("started"), process.execPath, ...fakeArgs()];
    const isolation = "per-session";
    const options = stdioOptions.parse({ id: "a", command: "sh", args, protocol: "legacy", isolation });
    await using set = await listed([options], { tuning: { start: 600_000 } });
    const who = principal("alice");
    const asked = rejectionOf(set.ask("a", "echo", {}, { who, session: "s1" }));
    await until(() => set.status()[0]?.instances === 1, "the start");
    leave(set, who);
    await until(() => set.status()[0]?.instances === 0, "the end of the process");
    expectUnsent(await asked);
  },
);

const bad: [what: string, answer: (id: unknown) => Response][] = [
  ["HTTP 500", (id) => refusal(id, -32603, "broken", 500)],
  ["a stream that ends", () => events()],
  ["no answer at all", () => Response.json({})],
];

test.each(bad)("a call whose session gets %s during the handshake did not run", async (_what, answer) => {
  using server = serve(({ method, id }) =>
    method === "initialize" && server.of("initialize").length > 1 ? answer(id) : null,
  );
  expectUnsent(await failedStart(http("a", server.url, { protocol: "legacy" })));
});

const head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
const cuts: [when: string, said: string][] = [
  ["before an answer", ""],
  ["within the answer", `${head}{"jsonrpc":`],
];

test.each(cuts)("a call whose connection is cut %s during the handshake did not run", async (_when, said) => {
  let handshakes = 0;
  using server = serveDying((request) => request.includes('"initialize"') && ++handshakes > 1 && { said });
  expectUnsent(await failedStart(http("a", server.url, { protocol: "legacy" })));
});

test("a read whose connection is cut during the handshake is repeated, a tool call is not", async () => {
  let handshakes = 0;
  using server = serveDying((request) => request.includes('"initialize"') && ++handshakes % 2 === 0 && { said: "" });
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  const request = { method: "prompts/get", edits: { name: '"p"' } };
  expect((await set.ask("a", "p", {}, { request })).kind).toBe("result");
  expect(handshakes).toBe(3);
  expectUnsent(await rejectionOf(set.ask("a", "echo", {}, { who: principal("bob") })));
  expect(handshakes).toBe(4);
});

test("a read whose connection is cut each time is tried twice", async () => {
  let asked = 0;
  using server = serveDying((request) => request.includes('"prompts/get"') && ++asked > 0);
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  const request = { method: "prompts/get", edits: { name: '"p"' } };
  expect((await rejectionOf(set.ask("a", "p", {}, { request }))).code).toBe("lost");
  expect(asked).toBe(2);
});

test("a call whose instance is still starting when the server is restarted did not run", async () => {
  const silent = Promise.withResolvers<null>();
  using server = serve(({ method, id }) => {
    if (method !== "initialize") return null;
    return server.of("initialize").length === 2 ? silent.promise : reply(id, { protocolVersion: "2025-11-25" });
  });
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  const failed = rejectionOf(set.ask("a", "echo"));
  await until(() => server.of("initialize").length === 2, "the start of the caller's instance");
  await set.restart("a");
  expectUnsent(await failed);
  silent.resolve(null);
});

test("a process that fails in its handshake is ended", async () => {
  const refusal = '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}';
  const args = ["-c", `read -r line; echo '${refusal}'; cat`];
  await using set = await listed([stdioOptions.parse({ id: "a", command: "sh", args, protocol: "legacy" })]);
  expect(set.status()[0]?.reason).toContain("initialize: -32603 no");
  await until(() => set.events.some(({ type }) => type === "server.stopped"), "its end");
});
