import { expect, test } from "bun:test";
import { Cancel } from "../../src/core/cancel.ts";
import type { Call } from "../../src/core/call.ts";
import { callByName, identify } from "../../src/gateway/call-by-name.ts";
import { loopback, makeCall, makeTool } from "../support/call.ts";
import { buildCatalog } from "../support/catalog.ts";
import { reasonOf } from "../support/failure.ts";
import { clientSession } from "../support/session.ts";
import { alice, harness, ok, types } from "./support.ts";

// Calls that did not arrive as an MCP message: from the command line and from `mcpgw__call`.

const caller = () => ({ source: loopback, credentials: [], vouched: alice, controller: new Cancel(), scope: null });

test("T22: limits.body applies to calls by name too, in bytes", async () => {
  const { gw, sent } = harness();
  const called = (count: number) => callByName(gw, "crm:get", JSON.stringify({ x: "€".repeat(count) }), caller());
  expect((await called(1_390_000)).status).toBe("ok");
  expect((await called(1_400_000)).failure?.code).toBe("body-too-large");
  expect(sent).toHaveLength(1);
});

test("a call by name waits for a server that is still starting, like a call by wire name", async () => {
  const { gw, sent } = harness();
  const boot = Promise.withResolvers<void>();
  const { catalog } = gw;
  Object.assign(gw, { settled: boot.promise, catalog: { ...catalog, find: () => null } });
  const called = callByName(gw, "crm:get", "{}", caller());
  Object.assign(gw, { catalog });
  boot.resolve();
  expect((await called).status).toBe("ok");
  expect(sent).toHaveLength(1);
});

test("a tool that only the current gateway knows after the wait is called there", async () => {
  const { gw, sent } = harness();
  const boot = Promise.withResolvers<void>();
  const before = { ...gw, settled: boot.promise, catalog: { ...gw.catalog, find: () => null } };
  const called = callByName(before, "crm:get", "{}", caller());
  boot.resolve();
  expect((await called).status).toBe("ok");
  expect(sent).toHaveLength(1);
});

test("a hidden tool is refused like a missing one, in the caller's spelling and without its wire name", async () => {
  const { gw } = harness({ rules: { reader: [{ tool: "other", action: "allow" }] } });
  const said = async (tool: string) => (await callByName(gw, tool, "{}", caller())).failure?.message;
  expect([await said("crm:get"), await said("crm:none")]).toEqual(["Unknown tool: crm:get", "Unknown tool: crm:none"]);
});

test("a call within another call has the same scope and the same client", async () => {
  const { gw, sent } = harness();
  const servers = { crm: { tools: ["get"] }, erp: { tools: ["get"] } };
  Object.assign(gw, { catalog: buildCatalog(servers, { policy: gw.policy }) });
  const declared = { text: '{"roots":{}}', value: { roots: {} } };
  const message = makeCall();
  const inbound = { ...message.inbound, capabilities: declared };
  const outer = Object.assign(makeCall(), { who: alice, scope: "erp", inbound });
  const called = (tool: string) => callByName(gw, tool, "{}", { ...caller(), outer });
  for (const tool of ["crm:get", "crm__get"]) expect((await called(tool)).failure?.code).toBe("unknown-tool");
  expect((await called("erp:get")).status).toBe("ok");
  expect(sent.map(({ call }) => [call.scope, call.capabilities])).toEqual([["erp", declared]]);
});

test("a caller that is refused over the control socket is recorded", async () => {
  const { gw, records, failing } = harness();
  const refused = () => reasonOf(identify(gw, { ...caller(), vouched: null }, "tools/list"));
  expect(await refused()).toMatchObject({ code: "unauthenticated" });
  expect(types(records)).toEqual(["call.refused"]);
  failing.on = "call.refused";
  expect(await refused()).toMatchObject({ code: "audit-unavailable" });
  expect(await identify(gw, caller(), "tools/list")).toBe(alice);
});

test("a tool shown only to other clients is not called, and neither is the caller's tool of that name", async () => {
  const { gw, sent } = harness();
  const shy = { ...makeTool("loose"), shownTo: new Set(['{"roots":{}}']) };
  const callerTools = () => new Map([["free", [makeTool("loose")]]]);
  const served = { shy: { prefix: "none", tools: [shy] }, free: { prefix: "none" } } as const;
  Object.assign(gw, { catalog: buildCatalog(served, { callerTools, policy: gw.policy }) });
  const session = { ...clientSession("s"), owner: alice.id };
  const outer = Object.assign(makeCall({ session }), { who: alice });
  const called = (tool: string) => callByName(gw, tool, "{}", { ...caller(), outer });
  expect((await called("shy:loose")).failure?.message).toBe("Unknown tool: shy:loose");
  expect((await called("free:loose")).status).toBe("ok");
  expect(sent.map(({ route }) => route.canonical)).toEqual(["free:loose"]);
});

test.each([
  ["is sent to that client", [], ["elicitation/create"], '"action":"decline"'],
  ["is refused if a guardrail forbids it", ["crm elicitation/create"], [], '"code":-1'],
])("a server's question during a call within another call %s", async (_, denies, questions, answer) => {
  const asked: string[] = [];
  const question = { method: "elicitation/create", params: '{"message":"?","requestedSchema":{}}' } as const;
  const { gw } = harness({
    denies,
    script: async ({ input }) => ok(JSON.stringify(await input?.(question, new Cancel()))),
  });
  const declared = { elicitation: {} };
  const capabilities = { text: JSON.stringify(declared), value: declared };
  const session = { ...clientSession("s", capabilities), owner: alice.id };
  const ask: Call["ask"] = async ({ method }) => (asked.push(method), { kind: "result", text: '{"action":"decline"}' });
  const outer = Object.assign(makeCall({ session, ask }), { who: alice });
  const { reply } = await callByName(gw, "crm:get", "{}", { ...caller(), outer });
  expect(asked).toEqual(questions);
  expect(JSON.parse(reply?.text ?? "{}").text).toContain(answer);
});
