import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { clientKind } from "../../../src/core/inbound.ts";
import { clientCapabilitiesKey } from "../../../src/mcp/meta.ts";
import { discovers, opens, reply, serve } from "../../support/mcp-server.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { callTo, fake, type Harness, http, listed, toolNames } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

// The tools that a server shows only to clients that declare certain capabilities.

const roots = { roots: {} };
const all = (): boolean => true;
const learn = (set: Harness, declares: Record<string, unknown>, mayUse: (server: string) => boolean) =>
  set.learnTools(callTo("x", {}, { declares }), mayUse);
const processes = (set: Harness): string[] =>
  set.events.flatMap(({ type }) => (type === "server.started" || type === "server.stopped" ? [type.slice(7)] : []));
/** Waits until this many of them have ended. */
const stopped = (set: Harness, times: number): Promise<unknown> =>
  until(() => processes(set).filter((one) => one === "stopped").length === times, "their end");

test("they are listed once for each kind of client, and nothing is left running", async () => {
  await using set = await listed([fake("a", ["--mode", "roots"])]);
  expect(toolNames(set)).not.toContain("with-roots");
  await learn(set, roots, all);
  expect(toolNames(set)).toContain("with-roots");
  expect(set.listings()[0]?.tools.find(({ name }) => name === "with-roots")?.shownTo).toEqual(
    new Set(['{"roots":{}}']),
  );
  expect(learn(set, roots, all)).toBeNull();
  await stopped(set, 1);
  expect(processes(set)).toEqual(["started", "started", "stopped"]);
});

test("kinds of clients that connect together are listed one after the other", async () => {
  await using set = await listed([fake("a", ["--mode", "roots"])]);
  const kinds = [roots, { sampling: {} }, { elicitation: {} }, { elicitation: { url: {} } }];
  await Promise.all(kinds.flatMap((kind) => learn(set, kind, all) ?? []));
  await stopped(set, 4);
  expect(processes(set)).toEqual(["started", ...kinds.flatMap(() => ["started", "stopped"])]);
});

test("nothing is started for a caller without access to the server, and it does not wait for others", async () => {
  await using set = await listed([fake("a", ["--mode", "roots"]), fake("b", ["--mode", "roots"])]);
  const asked: string[] = [];
  expect(learn(set, roots, (server) => (asked.push(server), false))).toBeNull();
  expect(asked).toEqual(["a", "b"]);
  const other = learn(set, roots, (server) => server === "a");
  expect(learn(set, roots, () => false)).toBeNull();
  await other;
  await stopped(set, 1);
  expect(processes(set)).toEqual(["started", "started", "started", "stopped"]);
});

test("a failed listing is tried again after the backoff", async () => {
  using at = new TempDir();
  const file = at.path("roots");
  const breaker = { first: 300, most: 300, failures: 9, window: 5_000, rest: 300 };
  await using set = await listed([fake("a", ["--mode", "roots"], { env: { FAKE_ROOTS: file } })], {
    tuning: { breaker },
  });
  await learn(set, roots, all);
  expect(set.warnings.join()).toContain("not known");
  expect(toolNames(set)).not.toContain("with-roots");
  expect(learn(set, roots, all)).toBeNull();
  writeFileSync(file, "");
  await until(() => learn(set, roots, all), "the rest to be over");
  await until(() => toolNames(set).includes("with-roots"), "the tool");
});

test("an idle or disabled server is not started for a listing", async () => {
  await using set = await listed([
    fake("idle", ["--mode", "roots"], { start: "on-demand" }),
    fake("off", ["--mode", "roots"], { enabled: false }),
  ]);
  // The first was listed and is idle.
  expect(processes(set)).toEqual(["started", "stopped"]);
  expect(learn(set, roots, all)).toBeNull();
  await set.ask("idle", "echo");
  await until(() => set.status()[0]?.state === "ready", "the one on demand");
  await learn(set, roots, all);
  expect(toolNames(set)).toContain("with-roots");
  expect(processes(set).filter((one) => one === "started").length).toBe(4);
});

test("a server that stops during a listing leaves nothing running", async () => {
  await using set = await listed([fake("a", ["--mode", "roots"])]);
  set.events.length = 0;
  const kinds = [roots, { sampling: {} }];
  const learning = kinds.flatMap((kind) => learn(set, kind, all) ?? []);
  await until(() => processes(set).length === 1, "its process");
  await set.close(0);
  await Promise.all(learning);
  expect(processes(set)).toEqual(["started", "stopped", "stopped"]);
  expect(learn(set, roots, all)).toBeNull();
});

test("tools learned while the common tools were being listed are kept, and listed again once the common tools have changed", async () => {
  const list = (...tools: string[]) => ({ tools: tools.map((name) => ({ name, inputSchema: { type: "object" } })) });
  const held = Promise.withResolvers<void>();
  let times = 0;
  let common = "t";
  using server = serve(async ({ method, id, params }, request) => {
    const asked = Object.hasOwn(Object(params?.["capabilities"]), "roots");
    if (method === "initialize") return opens(id, asked ? "asked" : "own");
    if (method !== "tools/list") return null;
    if (request.headers.get("mcp-session-id") === "asked") return reply(id, list("t", "with-roots"));
    if (++times === 2) await held.promise;
    return reply(id, list(common));
  });
  const options = http("a", server.url, { protocol: "legacy", getStream: "off" });
  await using set = await listed([{ ...options, refresh: 50 }]);
  await until(() => times === 2, "the second listing");
  await learn(set, roots, all);
  expect(toolNames(set)).toEqual(["t", "with-roots"]);
  held.resolve();
  await until(() => times === 3, "the end of the second listing");
  expect(toolNames(set)).toEqual(["t", "with-roots"]);
  expect(learn(set, roots, all)).toBeNull();
  common = "u";
  await until(() => toolNames(set).includes("u"), "another tool");
  expect(learn(set, roots, all)).not.toBeNull();
});

test("callers do not wait for the listing's instance to end, but the next listing does", async () => {
  const ending = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  const opened: string[] = [];
  using server = serve(async ({ method, id, params }, { method: verb }) => {
    if (verb === "DELETE") {
      ending.resolve();
      await end.promise;
    }
    if (method === "initialize") {
      const kind = Object.keys(Object(params?.["capabilities"])).join();
      opened.push(kind);
      return opens(id, `s-${kind}`);
    }
    return method === "tools/list" ? reply(id, { tools: [{ name: "t", inputSchema: { type: "object" } }] }) : null;
  });
  await using set = await listed([http("a", server.url, { protocol: "legacy", getStream: "off" })]);
  const first = learn(set, roots, all);
  const second = learn(set, { sampling: {} }, all);
  await first;
  await ending.promise;
  // Anything that the next listing had already sent would have arrived before this.
  await fetch(server.url);
  expect(opened).toEqual(["", "roots"]);
  end.resolve();
  await second;
  expect(opened).toEqual(["", "roots", "sampling"]);
});

const apps = { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } };

test("the server learns what clients of the kind have in common, and nothing about the one that came first", async () => {
  using server = serve(() => null);
  await using set = await listed([http("a", server.url)]);
  await learn(set, { roots: null, experimental: { of: "one" }, tasks: { list: {} }, extensions: { of: {} } }, all);
  await learn(set, { elicitation: { url: { of: "one" } }, extensions: { ...apps, of: {} } }, all);
  expect(server.of("initialize").map(({ message }) => message.params?.["capabilities"])).toEqual([
    {},
    roots,
    { elicitation: { url: {} }, extensions: apps },
  ]);
});

test.each(["legacy", "modern"] as const)(
  "tools that a %s server shows for more than a bare capability are shown to clients that declare it, and to no others",
  async (era) => {
    using server = serve(({ method, id, params }, { headers }) => {
      const declared = era === "modern" ? Object(params?.["_meta"])[clientCapabilitiesKey] : params?.["capabilities"];
      if (method === "server/discover") return era === "modern" ? discovers(id, { tools: {} }) : null;
      // The session returns what was declared when it was opened.
      if (method === "initialize") return opens(id, encodeURIComponent(JSON.stringify(declared)));
      if (method !== "tools/list") return null;
      const told = era === "modern" ? declared : JSON.parse(decodeURIComponent(headers.get("mcp-session-id") ?? "{}"));
      const names = [
        ...(told.elicitation?.form ? ["form"] : []),
        ...(told.sampling?.tools ? ["sampling-tools"] : []),
        ...(told.extensions?.["io.modelcontextprotocol/ui"]?.mimeTypes.includes("text/html;profile=mcp-app")
          ? ["ui"]
          : []),
      ];
      return reply(id, { tools: names.map((name) => ({ name, inputSchema: { type: "object" } })) });
    });
    await using set = await listed([http("a", server.url, { protocol: era, getStream: "off" })]);
    const declarations = [
      { elicitation: {}, sampling: {}, roots: {}, extensions: { "io.modelcontextprotocol/ui": {} } },
      { elicitation: { form: {} } },
      { sampling: { tools: {} }, roots: {} },
      { extensions: apps },
    ];
    for (const declares of declarations) await learn(set, declares, all);
    const shown = declarations.map((declares) =>
      set
        .listings()[0]
        ?.tools.flatMap(({ name, shownTo }) =>
          shownTo?.has(clientKind({ text: JSON.stringify(declares), value: declares })) ? [name] : [],
        ),
    );
    expect(shown).toEqual([[], ["form"], ["sampling-tools"], ["ui"]]);
  },
);

test("a modern server reads the capabilities with each list, as another mcpgw does: no instance is opened for it", async () => {
  const tools = (...of: string[]) => ({ tools: of.map((name) => ({ name, inputSchema: { type: "object" } })) });
  let common = "t";
  using server = serve(({ method, id, params }) => {
    if (method === "server/discover") return discovers(id, { tools: {} });
    if (method !== "tools/list") return null;
    const declared: object = Object(params?.["_meta"])[clientCapabilitiesKey];
    return reply(id, tools(common, ...Object.keys(declared).map((kind) => `with-${kind}`)));
  });
  await using set = await listed([{ ...http("a", server.url, { protocol: "modern" }), refresh: 50 }]);
  expect(toolNames(set)).toEqual(["t"]);
  await learn(set, { sampling: {}, tasks: {} }, all);
  await learn(set, roots, all);
  expect(toolNames(set)).toEqual(["t", "with-sampling", "with-roots"]);
  expect(set.listings()[0]?.tools.map(({ shownTo }) => shownTo)).toEqual([
    undefined,
    new Set(['{"sampling":{}}']),
    new Set(['{"roots":{}}']),
  ]);
  expect(learn(set, roots, all)).toBeNull();
  common = "u";
  await until(() => toolNames(set).includes("u"), "another tool");
  await learn(set, roots, all);
  expect(toolNames(set)).toContain("with-roots");
  expect(server.seen.filter(({ method }) => method === "server/discover")).toHaveLength(1);
});
