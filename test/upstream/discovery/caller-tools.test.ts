import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { reasonOf } from "../../support/failure.ts";
import {
  event,
  events,
  greets,
  opens,
  openStream,
  reply,
  serve,
  type Stream,
  text,
  told,
} from "../../support/mcp-server.ts";
import { principal } from "../../support/principal.ts";
import {
  type AskOptions,
  callTo,
  fake,
  type Harness,
  http,
  jsonOf,
  listed,
  upstreams,
} from "../../support/upstream.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { use } from "../../support/turns.ts";
import { until } from "../../support/until.ts";

setDefaultTimeout(30_000);

// The tools that a server offers only to one caller's instance.

const alice = { who: principal("alice") };
const bob = { who: principal("bob") };
const define = (name: string, description = "") => ({ name, description, inputSchema: { type: "object" } });

const switchOn = (set: Harness, who: AskOptions, tools: readonly object[], times = 1) =>
  set.ask("a", "switch", { tools, times }, who);
const learnt = (set: Harness, who: AskOptions, mayUse = true) => set.learnTools(callTo("x", {}, who), () => mayUse);
const own = (set: Harness, who: AskOptions): string[] =>
  (set.callerTools(callTo("x", {}, who)).get("a") ?? []).map(({ name }) => name);

describe("R2 R112: a tool that a call switches on in its caller's instance", () => {
  test("is offered to that caller alone, as its own instance defines it", async () => {
    await using set = await listed([fake("a")]);
    await switchOn(set, alice, [define("extra", "hers")]);
    expect(learnt(set, bob)).toBeNull();
    await learnt(set, alice);
    expect([own(set, alice), own(set, bob)]).toEqual([["extra"], []]);
    await switchOn(set, bob, [define("extra", "his"), define("echo", "another")]);
    await learnt(set, bob);
    expect([own(set, alice), own(set, bob)]).toEqual([["extra"], ["extra"]]);
    const text = (who: AskOptions) => set.callerTools(callTo("x", {}, who)).get("a")?.[0]?.text;
    expect([text(alice), text(bob)].map((each) => each?.includes("hers"))).toEqual([true, false]);
    expect(set.listings()[0]?.tools.map(({ name }) => name)).not.toContain("extra");
  });

  test("is not offered to a call of that caller that needs another instance", async () => {
    await using set = await listed([fake("a")]);
    await switchOn(set, alice, [define("extra")]);
    await learnt(set, alice);
    expect(own(set, { ...alice, declares: { elicitation: {} } })).toEqual([]);
    expect(own(set, { ...alice, session: "s" })).toEqual(["extra"]);
  });

  test("is gone once it is switched off, and each change is announced", async () => {
    await using set = await listed([fake("a")]);
    let told = 0;
    set.onCallerChange(() => void told++);
    await switchOn(set, alice, [define("extra"), define("more")]);
    await learnt(set, alice);
    await switchOn(set, alice, [define("more")]);
    await learnt(set, alice);
    expect([own(set, alice), told]).toEqual([["more"], 2]);
    await switchOn(set, alice, [define("more")]);
    await learnt(set, alice);
    expect(told).toBe(2);
  });

  test("is gone with the instance", async () => {
    await using set = await listed([fake("a")]);
    await switchOn(set, alice, [define("extra")]);
    await learnt(set, alice);
    const gone = Promise.withResolvers<void>();
    set.onCallerChange(gone.resolve);
    await set.ask("a", "crash", {}, alice).catch(() => {});
    await gone.promise;
    expect([own(set, alice), learnt(set, alice)]).toEqual([[], null]);
  });

  test("belongs to the session if the instance does, and is gone with it", async () => {
    await using set = await listed([fake("a", [], { isolation: "per-session" })]);
    const [one, two] = [
      { ...alice, session: "s1" },
      { ...alice, session: "s2" },
    ];
    await switchOn(set, one, [define("extra")]);
    expect(learnt(set, two)).toBeNull();
    await learnt(set, one);
    expect([own(set, one), own(set, two)]).toEqual([["extra"], []]);
    set.endSession("s1");
    await until(() => own(set, one).length === 0, "the tool to be gone");
  });

  test("is offered to everybody if all share the instance", async () => {
    await using set = await listed([fake("a", [], { isolation: "shared" })]);
    await switchOn(set, alice, [define("extra")]);
    await learnt(set, bob);
    expect(own(set, bob)).toEqual(["extra"]);
  });

  test("survives a reload that does not change its server", async () => {
    const first = await listed([fake("a")]);
    await switchOn(first, alice, [define("extra")]);
    await learnt(first, alice);
    await using set = upstreams([fake("a")], { previous: first });
    let told = 0;
    set.onCallerChange(() => void told++);
    expect(own(set, alice)).toEqual(["extra"]);
    await switchOn(set, alice, []);
    await learnt(set, alice);
    expect([own(set, alice), told]).toEqual([[], 1]);
  });
});

test.each([
  ["a process of her own", {}],
  ["a shared process", { isolation: "shared" }],
])("a modern server is listened to for the tools of %s", async (_, more) => {
  const modern = { ...alice, era: "modern" } as const;
  await using set = await listed([fake("a", ["--era", "modern"], more)]);
  const changed = Promise.withResolvers<void>();
  set.onCallerChange(changed.resolve);
  await switchOn(set, modern, [define("extra")]);
  await changed.promise;
  expect(own(set, modern)).toEqual(["extra"]);
  expect(jsonOf(await set.ask("a", "seen", {}, modern))).toMatchObject({ filters: [{ toolsListChanged: true }] });
});

test("a change announced by an instance that has ended, and read after its end, causes no request", async () => {
  const streams: Stream[] = [];
  using server = serve((message, request) => {
    if (request.method === "GET") return openStream({ start: (one) => void streams.push(one) });
    return message.method === "initialize" ? opens(message.id, `${streams.length}`) : null;
  });
  const ended = Promise.withResolvers<void>();
  const notice = (): void => {
    set.endSession("s1");
    // Longer than one turn of a stream, so that others run before the rest of it is read.
    use(10);
    ended.resolve();
  };
  await using set = await listed([http("a", server.url, { isolation: "per-session" })], { notice });
  await set.ask("a", "t", {}, { ...alice, session: "s1" });
  await until(() => streams.length === 2, "the stream of the session");
  const rest = `: ${"x".repeat(16 * 1024)}\n${told("notifications/tools/list_changed", {})}`;
  streams[1]?.enqueue(told("notifications/message", { level: "info" }) + rest);
  await ended.promise;
  await set.ask("a", "t", {}, { ...alice, session: "s2" });
  expect(set.warnings).toEqual([]);
});

test("a caller without access to the server does not wait for its instances", async () => {
  await using set = await listed([fake("a")]);
  await switchOn(set, alice, [define("extra")]);
  expect(learnt(set, alice, false)).toBeNull();
});

test("the number of tools of an instance is limited, and a warning about the rest is logged once", async () => {
  await using set = await listed([fake("a")]);
  const long = "x".repeat(200 * 1024);
  for (const name of ["first", "second"]) {
    await switchOn(set, alice, [define(name, long), define("two", long), define("three", long)]);
    await until(() => own(set, alice)[0] === name, "the tools");
    expect(own(set, alice)).toEqual([name]);
  }
  await switchOn(set, bob, [define("four", long)]);
  await learnt(set, bob);
  expect(own(set, bob)).toEqual(["four"]);
  expect(set.warnings.filter((each) => each.includes("more than 262144 characters"))).toHaveLength(1);
});

test.each([
  ["more than 500 tools", Array.from({ length: 501 }, (_, at) => define(`t${at}`)), 500],
  [
    "1 of its tools cannot be offered; the reason for the first: its inputSchema is not an object",
    [define("t"), { name: "bad" }],
    1,
  ],
])("tools that are not offered are logged, and the instance is waited for again: %s", async (why, tools, kept) => {
  await using set = await listed([fake("a")]);
  for (let times = 0; times < 2; times++) {
    await switchOn(set, alice, tools);
    await learnt(set, alice);
    expect(own(set, alice).length).toBe(kept);
    await until(() => learnt(set, alice) !== null, "it to be waited for");
  }
  expect(set.warnings.filter((each) => each.includes(why))).toHaveLength(1);
});

const nested = (times: number): object =>
  Array.from({ length: times }).reduce<object>((a) => ({ type: "object", properties: { a } }), { type: "object" });

test("a tool nested deeper than a message may be does not keep others from being offered, as in the common list", async () => {
  await using set = await listed([fake("a")]);
  await switchOn(set, alice, [define("extra"), { ...define("deep"), inputSchema: nested(50) }]);
  await learnt(set, alice);
  expect(own(set, alice)).toEqual(["extra"]);
});

test.each([["one JSON text"], ["a stream"]])("the same over HTTP, if the list is %s", async (form) => {
  const tools = [define("extra"), { ...define("deep"), inputSchema: nested(50) }];
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: { listChanged: true } });
    if (method === "tools/list") {
      const result = { tools: server.of("tools/list").length > 1 ? tools : [define("echo")] };
      return form === "a stream" ? events(event({ jsonrpc: "2.0", id, result })) : reply(id, result);
    }
    const changed = told("notifications/tools/list_changed", {});
    const result = { ...text("ok"), structuredContent: nested(50) };
    return method === "tools/call" ? events(changed, event({ jsonrpc: "2.0", id, result })) : null;
  });
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  // A call's result is limited to the depth of a message.
  expect(String(await reasonOf(set.ask("a", "echo", {}, alice)))).toContain("limits.depth");
  await learnt(set, alice);
  expect(own(set, alice)).toEqual(["extra"]);
});

test("an instance that does not answer is waited for once", async () => {
  // Its instances announce a change with each call, but list nothing once the server's own list has been read.
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: { listChanged: true } });
    if (method === "tools/list" && server.of("tools/list").length > 1) return new Promise(() => {});
    return method === "tools/call"
      ? events(told("notifications/tools/list_changed", {}), event({ jsonrpc: "2.0", id, result: text("ok") }))
      : null;
  });
  await using set = await listed([http("a", server.url, { protocol: "legacy", timeout: "500ms" })]);
  await set.ask("a", "echo", {}, alice);
  await learnt(set, alice);
  expect(set.warnings.join()).toContain("not all tools of an instance are known");
  await set.ask("a", "echo", {}, alice);
  expect(learnt(set, alice)).toBeNull();
});

test("an instance whose tools could not be read is asked again with the next health check", async () => {
  using dir = new TempDir();
  const file = dir.path("first-list");
  writeFileSync(file, "");
  await using set = await listed([fake("a", [], { env: { FIRST_LIST: file }, healthCheck: 50 })]);
  rmSync(file);
  await switchOn(set, alice, [define("extra")]);
  await until(() => own(set, alice).length > 0, "the tool");
  expect(set.warnings.filter((each) => each.includes("not yet"))).toHaveLength(1);
});

test("however often an instance announces changed tools, they are read at intervals", async () => {
  await using set = await listed([fake("a")]);
  await switchOn(set, alice, [define("extra")], 2_000);
  await learnt(set, alice);
  expect(own(set, alice)).toEqual(["extra"]);
  // The notifications came before the answer: at most one reading had begun, and one more was due.
  expect(Number(jsonOf(await set.ask("a", "count", {}, alice))["lists"])).toBeLessThanOrEqual(3);
});
