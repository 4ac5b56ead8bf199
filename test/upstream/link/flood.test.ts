import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { createFloodGuard } from "../../../src/upstream/link/flood.ts";
import { rejectionOf } from "../../support/failure.ts";
import { event, events, isCall, reply, serve, text } from "../../support/mcp-server.ts";
import { principal } from "../../support/principal.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { fake, http, listed, textOf } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

/** More messages than are allowed per minute. */
const flood = 12_000;
const progress = (progressToken: unknown) =>
  event({ jsonrpc: "2.0", method: "notifications/progress", params: { progressToken, progress: 1 } });

for (const token of [undefined, "foreign"]) {
  const ends = token !== undefined;
  test(`T12: a flood of ${ends ? "unknown progress ends" : "late progress does not end"} a shared server`, async () => {
    using at = new TempDir();
    const file = at.path("done");
    await using set = await listed([fake("a", [], { isolation: "shared" })]);
    const other = set.ask("a", "slow", { ms: 1, file }, { who: principal("bob") });
    const outcome = ends ? rejectionOf(other) : other.then(textOf);
    expect(textOf(await set.ask("a", "pester", { times: flood, token }, { token: "1", emit: () => {} }))).toBe("done");
    if (!ends) await until(() => set.status()[0]?.dropped === flood, "all of it");
    else await outcome;
    writeFileSync(file, "");
    expect(await outcome).toEqual(ends ? expect.objectContaining({ code: "lost" }) : expect.stringContaining(file));
  });
}

test("T12: over HTTP, a flood of unknown progress ends only the request in whose stream it arrives", async () => {
  let release = (): void => {};
  using server = serve((message) => {
    if (!isCall(message)) return null;
    const done = (): Response => reply(message.id, text("ok"));
    if (message.params?.["name"] === "waits") return new Promise((resolve) => (release = () => resolve(done())));
    const answer = event({ jsonrpc: "2.0", id: message.id, result: text("ok") });
    return events(...Array.from({ length: flood }, () => progress("foreign")), answer);
  });
  await using set = await listed([http("a", server.url, { isolation: "shared" })]);
  const other = set.ask("a", "waits", {}, { who: principal("bob") });
  await until(() => server.of("tools/call").length === 1, "the other call");
  const failure = await rejectionOf(set.ask("a", "floods"));
  expect(failure).toMatchObject({ code: "upstream-protocol", message: expect.stringContaining("floods the gateway") });
  release();
  expect(textOf(await other)).toBe("ok");
  expect(server.of("initialize").length).toBe(2);
});

const unread = { jsonrpc: "2.0", method: "notifications/message", params: { level: "info", data: "x" } };
for (const said of [{ jsonrpc: "2.0", id: 1, method: "ping" }, unread]) {
  test(`T12: a server that sends too many ${said.method} messages per minute is ended`, async () => {
    await using set = await listed([fake("a")]);
    // Two calls, so that a log message belongs to neither.
    const [outcome] = [rejectionOf(set.ask("a", "hang")), rejectionOf(set.ask("a", "hang"))];
    await set.ask("a", "repeat", { times: 61_000, said }).catch(() => {});
    expect(await outcome).toMatchObject({ code: "lost", message: expect.stringContaining("floods the gateway") });
  }, 30_000);
}

test.each([
  ["stray", 10_000],
  ["unrelated", 60_000],
  ["delivered", 600_000],
] as const)("T12: more messages of one kind per minute than the limit are a flood: %s, %i", (kind, most) => {
  let floods = 0;
  const guard = createFloodGuard(
    () => {},
    () => floods++,
  );
  for (let times = 0; times < most; times++) guard[kind]("");
  expect(floods).toBe(0);
  guard[kind]("");
  expect(floods).toBe(1);
});

test("a server that pings without accepting the answers gets only 64 at a time, and its calls continue", async () => {
  let open = 0;
  let most = 0;
  using server = serve((message, request) => {
    if (message.method === undefined && request.method === "POST") {
      most = Math.max(most, ++open);
      return new Promise<Response>(() => {});
    }
    if (!isCall(message)) return null;
    const pings = Array.from({ length: 500 }, (_, id) => event({ jsonrpc: "2.0", id: `p${id}`, method: "ping" }));
    return events(...pings, event({ jsonrpc: "2.0", id: message.id, result: text("ok") }));
  });
  await using set = await listed([http("a", server.url)]);
  expect(textOf(await set.ask("a", "t"))).toBe("ok");
  await until(() => open === 64, "the answers");
  expect([most, set.status()[0]?.dropped]).toEqual([64, 500 - 64]);
});
