import { describe, expect, test } from "bun:test";
import { principal } from "../support/principal.ts";
import { pick } from "../support/wire.ts";
import { alice, harness, item, type Options, received, send, types } from "./support.ts";

const skills = "io.modelcontextprotocol/skills";

describe("methods of extensions", () => {
  const declares = (id: string, more: object = {}) => ({
    capabilities: { tools: {}, extensions: { [id]: {} } },
    ...more,
  });
  const acme = "com.acme/forms";
  const some: NonNullable<Options["servers"]> = {
    a: declares(skills, { resources: [item("skill://a/x")] }),
    b: declares(acme),
    c: declares(acme),
    d: { capabilities: { tools: {} } },
  };
  const knows = (...ids: string[]) => ({ capabilities: { extensions: Object.fromEntries(ids.map((id) => [id, {}])) } });

  test("go to the only server that also declares the extension, changed only where the hop requires it", async () => {
    const text = '{"resultType":"x","skills":[1.10],"_meta":{"io.modelcontextprotocol/serverInfo":1,"a":1}}';
    const { gw, sent, records } = harness({
      servers: some,
      script: () => ({ kind: "result", era: "modern", text, isError: false, type: "x" }),
    });
    const { result } = await send(gw, "skills/list", { cursor: "c", task: 1 }, knows(skills));
    expect(result).toEqual({
      resultType: "x",
      skills: [1.1],
      _meta: { a: 1, "io.modelcontextprotocol/serverInfo": { name: "mcpgw", version: "9" } },
    });
    expect(sent.map(({ route, request }) => [route.kind, route.canonical, request.method])).toEqual([
      ["extension", "a:skills/list", "skills/list"],
    ]);
    expect(types(records)).toEqual(["call.begin", "call.end"]);
  });

  test("wait for servers that are still starting, because each may serve them too", async () => {
    const { gw, sent } = harness({ servers: some });
    const boot = Promise.withResolvers<void>();
    const listings = () => gw.upstreams.listings().filter(({ server }) => server === "b");
    const early = { ...gw, settled: boot.promise, upstreams: { ...gw.upstreams, listings } };
    const listed = send(early, "skills/list", {}, knows(skills));
    const filled = send(early, "forms/fill", {}, knows(acme));
    boot.resolve();
    expect((await listed).error).toBeUndefined();
    expect((await filled).error.message).toContain("b, c");
    expect(sent.map(({ route }) => route.canonical)).toEqual(["a:skills/list"]);
  });

  test("may be named after the full id of their extension, except for tasks", async () => {
    const tasks = "io.modelcontextprotocol/tasks";
    const { gw, sent } = harness({ servers: { a: declares(skills), t: declares(tasks) } });
    for (const method of [skills, `${skills}/list`]) await send(gw, method, {}, knows(skills));
    expect(sent.map(({ route }) => route.canonical)).toEqual([`a:${skills}`, `a:${skills}/list`]);
    for (const [method, id] of [
      [`${skills}x/list`, skills],
      ["tasks/list", tasks],
      ["tasks/list", "com.acme/tasks"],
      [`${tasks}/list`, tasks],
    ] as const) {
      expect((await send(gw, method, {}, knows(id))).error.code).toBe(-32601);
    }
    expect(sent).toHaveLength(2);
  });

  test("are refused and recorded if their name is too long", async () => {
    const { gw, sent, records } = harness({ servers: { a: declares(skills) } });
    const named = (length: number): string => "skills/".padEnd(length, "x");
    expect((await send(gw, named(8192), {}, knows(skills))).error).toBeUndefined();
    const { error, call } = await send(gw, named(8193), {}, knows(skills));
    expect(error).toEqual({ code: -32602, message: "The name of the method is longer than 8192 characters." });
    expect([sent.length, call.target?.length, types(records).at(-1)]).toEqual([1, 8192, "call.refused"]);
  });

  test("of several servers: the error lists the servers and how to choose one", async () => {
    const { gw } = harness({ servers: some });
    const { error } = await send(gw, "forms/fill", {}, knows(acme));
    expect(error.code).toBe(-32602);
    expect(error.message).toContain("b, c");
    expect(error.message).toContain("/mcp/b");
    expect((await send(gw, "forms/fill", {}, { ...knows(acme), scope: "b" })).error).toBeUndefined();
  });

  test("ignore servers on which the caller has no right", async () => {
    const rules = { reader: [{ server: "b", action: "allow" }], other: [{ server: "d", action: "allow" }] };
    const other = principal("key:o", ["other"]);
    const { gw, sent } = harness({ servers: some, rules });
    expect((await send(gw, "forms/fill", {}, knows(acme))).error).toBeUndefined();
    expect(sent.map(({ route }) => route.server)).toEqual(["b"]);
    const refusal = async (method: string, params: object, id: string) =>
      (await send(gw, method, params, { ...knows(id), who: other })).error;
    // Two servers serve the first method, one serves the second, and none serves the third.
    const hidden = [await refusal("forms/fill", {}, acme), await refusal("skills/fill", {}, skills)];
    const missing = await refusal("none/fill", {}, "com.acme/none");
    for (const error of hidden) expect(error.message.replace(/"\w+\//, '"none/')).toBe(missing.message);
    const read = { uri: "skill://z/x" };
    const reading = (none: string) => refusal("resources/directory/read", read, none);
    const without = harness({ servers: { d: some["d"] ?? {} }, rules });
    const alone = await send(without.gw, "resources/directory/read", read, { ...knows(skills), who: other });
    expect(await reading(skills)).toEqual(alone.error);
  });

  test.each(["initialize", "server/discover"])(
    "%s shows the extensions only of servers that the caller may use",
    async (method) => {
      const { gw } = harness({ servers: some, rules: { reader: [{ server: "a", tool: "get", action: "allow" }] } });
      const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "c", version: "1" } };
      const shown = async (...roles: string[]) => {
        const asking = { ...knows(skills, acme), era: method === "initialize" ? "legacy" : "modern" } as const;
        const { result } = await send(gw, method, params, { ...asking, who: principal("key:o", roles) });
        return pick(result, "capabilities.extensions");
      };
      expect(await shown("reader")).toEqual({ [skills]: {} });
      expect(await shown("other")).toBeUndefined();
    },
  );

  test("are unknown to a client that did not declare the extension, or if no server does", async () => {
    const { gw, sent } = harness({ servers: some });
    expect((await send(gw, "skills/list")).error.code).toBe(-32601);
    expect((await send(gw, "skills/list", {}, knows(acme))).error.code).toBe(-32601);
    expect((await send(gw, "skills/list", {}, { ...knows(skills), scope: "d" })).error.code).toBe(-32601);
    expect((await send(gw, "forms", {}, knows(acme))).error.code).toBe(-32601);
    expect(sent).toEqual([]);
  });

  test("are recorded under the requested URI if they read an unknown resource", async () => {
    const { gw, records } = harness({ servers: some });
    const elsewhere = await send(gw, "resources/directory/read", { uri: "mcpgw+gone:skill://x" }, knows(skills));
    expect([elsewhere.call.failure?.code, elsewhere.call.target]).toEqual(["unknown-resource", "mcpgw+gone:skill://x"]);
    const nowhere = await send(gw, "resources/directory/read", { uri: "skill://x" }, { ...knows(skills), scope: "b" });
    expect([nowhere.call.failure?.code, nowhere.call.target]).toEqual(["unknown-resource", "skill://x"]);
    expect(types(records)).toEqual(["call.refused", "call.refused"]);
  });

  test("that only read a resource are decided like a read of it", async () => {
    const rules = { reader: [{ resource: "skill://a/*", action: "allow" }], other: [{ tool: "*", action: "allow" }] };
    const { gw, sent } = harness({ servers: some, rules });
    const read = (uri: string, who = alice) => send(gw, "resources/directory/read", { uri }, { ...knows(skills), who });
    expect((await read("skill://a/x")).error).toBeUndefined();
    expect((await read("skill://a/unlisted")).error).toBeUndefined();
    expect((await read(`skill://a/${"x".repeat(8192)}`)).call.failure?.code).toBe("invalid-params");
    expect((await read("skill://secret")).call.failure?.code).toBe("unknown-resource");
    expect((await read("skill://a/x", principal("key:o", ["other"]))).call.failure?.code).toBe("unknown-resource");
    expect((await send(gw, "skills/list", {}, knows(skills))).call.failure?.code).toBe("unknown-method");
    expect(sent.map(({ route }) => route.name)).toEqual(["skill://a/x", "skill://a/unlisted"]);
  });

  test("need a right on both the method and the resource that they name", async () => {
    const rules = {
      reader: [{ resource: "skill://a/*", action: "allow" }],
      admin: [
        { resource: "skill://a/secret", action: "deny" },
        { resource: "skill://a/*", action: "allow", id: "resource" },
        { server: "a", action: "allow", id: "method" },
      ],
    };
    const { gw, sent, records } = harness({ servers: some, rules });
    const admin = principal("key:admin", ["admin"]);
    const purge = (params: object, who = alice) => send(gw, "skills/purge", params, { ...knows(skills), who });
    for (const uri of ["skill://a/x", "skill://a/none", "skill://b/x", undefined]) {
      const { error } = await purge({ uri, all: true });
      expect(error).toEqual({ code: -32601, message: 'This gateway does not serve the method "skills/purge".' });
    }
    expect((await purge({ uri: "skill://a/secret" }, admin)).error.code).toBe(-32602);
    expect(sent).toEqual([]);
    expect(new Set(types(records))).toEqual(new Set(["call.refused"]));
    for (const params of [{ uri: "skill://a/x" }, {}]) {
      const { error, call } = await purge(params, admin);
      expect([error, call.verdict?.rule]).toEqual([undefined, "method"]);
    }
    expect(sent.map(({ route, request }) => [route.kind, route.canonical, request.edits])).toEqual([
      ["extension", "a:skills/purge", { uri: '"skill://a/x"' }],
      ["extension", "a:skills/purge", { uri: null }],
    ]);
  });

  test("S27: are checked against conditions on the URI by what the server gets, in every possible reading", async () => {
    const when = { "args.uri": { notIn: ["skill://a/secret"] } };
    const rules = {
      admin: [
        { resource: "*", action: "allow" },
        { server: "a", when, action: "allow" },
      ],
    };
    const { gw, sent } = harness({ servers: some, rules });
    const asking = { ...knows(skills), who: principal("key:admin", ["admin"]) };
    for (const uri of [
      "skill://a/secret",
      "mcpgw+a:skill://a/secret",
      "skill://a/%73ecret",
      "mcpgw+a:skill://A/secret",
    ])
      expect([uri, (await send(gw, "skills/purge", { uri }, asking)).error]).toEqual([uri, expect.anything()]);
    expect(sent).toEqual([]);
    for (const uri of ["skill://a/x", "mcpgw+a:skill://a/x"])
      expect((await send(gw, "skills/purge", { uri }, asking)).error).toBeUndefined();
    expect(sent.map((one) => received(one, "legacy"))).toEqual([{ uri: "skill://a/x" }, { uri: "skill://a/x" }]);
  });

  test("S27: never carry members that a case-insensitive server would read as an undecided URI", async () => {
    const rules = { admin: [{ resource: "skill://a/secret", action: "deny" }, { action: "allow" }] };
    const { gw, sent } = harness({ servers: some, rules });
    const asking = { ...knows(skills), who: principal("key:admin", ["admin"]) };
    for (const params of ['{"URI":"skill://a/secret"}', '{"uri":["skill://a/x"],"ur\u0131":"skill://a/secret","n":1}'])
      expect((await send(gw, "skills/purge", params, asking)).error).toBeUndefined();
    expect(sent.map((one) => received(one, "legacy"))).toEqual([{}, { uri: ["skill://a/x"], n: 1 }]);
  });

  test("do not send one server's URI to another server", async () => {
    const rules = {
      reader: [{ action: "allow" }],
      other: [{ server: "a", action: "allow" }],
    };
    const twin = item("twin:d");
    const d = { capabilities: { resources: {} }, resources: [item("doc://d"), twin] };
    const both = { ...some, b: declares(acme, { resources: [twin] }), d };
    const { gw, sent } = harness({ servers: both, rules });
    const other = principal("key:o", ["other"]);
    for (const method of ["resources/directory/read", "skills/purge"]) {
      const ask = (uri: string, who = alice) => send(gw, method, { uri }, { ...knows(skills), who });
      for (const uri of ["doc://d", "mcpgw+d:doc://d", "mcpgw+d:twin:d"])
        expect((await ask(uri)).error).toEqual({
          code: -32601,
          message: `The server of ${uri} does not serve the method "${method}".`,
        });
      const unknown = [
        ["mcpgw+d:doc://d", other],
        ["mcpgw+gone:doc://d", alice],
        ["mcpgw+gone:doc://d", other],
      ] as const;
      for (const [uri, who] of unknown) expect((await ask(uri, who)).call.failure?.code).toBe("unknown-resource");
      expect(sent).toEqual([]);
      // The reply must not reveal whether a hidden server has the URI.
      for (const uri of ["doc://d", "doc://none"]) expect((await ask(uri, other)).error).toBeUndefined();
      expect(sent.splice(0).map(({ route }) => route.server)).toEqual(["a", "a"]);
    }
  });

  test("S32: in a toolset go to servers that it includes or whose methods it names", async () => {
    const listed = { a: declares(skills, { resources: [item("skill://a/x"), item("skill://a/y")] }) };
    const narrow = { some: ["a:put", "a:skill://a/x"], named: ["a:skills/list"], whole: ["a:*"] };
    const { gw, sent } = harness({ servers: listed, toolsets: narrow });
    const ask = (scope: string, method: string, params: object = {}) =>
      send(gw, method, params, { ...knows(skills), scope });
    for (const params of [{}, { uri: "skill://a/x" }]) {
      expect((await ask("some", "skills/list", params)).error.code).toBe(-32601);
    }
    expect((await ask("named", "skills/list", { uri: "skill://a/x" })).error.code).toBe(-32602);
    expect((await ask("some", "resources/directory/read", { uri: "skill://a/y" })).error.code).toBe(-32602);
    expect(sent).toEqual([]);
    expect((await ask("some", "resources/directory/read", { uri: "skill://a/x" })).error).toBeUndefined();
    expect((await ask("named", "skills/list")).error).toBeUndefined();
    expect((await ask("whole", "skills/list", { uri: "skill://a/y" })).error).toBeUndefined();
  });
});
