import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { callOf } from "../../src/gateway/call.ts";
import { handle } from "../../src/gateway/handle.ts";
import { readInbound } from "../../src/mcp/classify.ts";
import { loopback } from "../support/call.ts";
import { quietLimits } from "../support/gateway.ts";
import { principal } from "../support/principal.ts";
import { alice, harness, type Harness, type Options, session, types } from "./support.ts";

// What a legacy client tells its servers under an extension that it declared.

const acme = "com.acme/thing";
const said = `notifications/${acme}`;
const knows = { extensions: { [acme]: {} } };
const item = (name: string) => ({ name, text: JSON.stringify({ name }) });
const declares = (more: object = {}) => ({ capabilities: { extensions: { [acme]: {} } }, ...more });
const servers: NonNullable<Options["servers"]> = {
  a: declares({ resources: [item("doc://a")] }),
  b: declares(),
  c: { capabilities: { tools: {} }, resources: [item("doc://c")] },
};

type Telling = { who?: typeof alice; scope?: string; method?: string };

/** Takes a notification of a client that knows the extension through the path; resolves with the ended call. */
async function tell({ gw }: Harness, params: object = {}, { who = alice, scope, method = said }: Telling = {}) {
  const text = JSON.stringify({ jsonrpc: "2.0", method, params });
  const inbound = readInbound(text, gw.shape, { headers: null, pinned: "legacy", revision: "2025-11-25" });
  const presented = { source: loopback, credentials: [], vouched: who };
  const carrier = { controller: new AbortController(), session: session(who, knows), emit: null, scope: scope ?? null };
  const call = callOf(gw, { inbound, fault: null }, presented, carrier);
  await handle(gw, call);
  return call;
}

const sentTo = ({ sent }: Harness) => sent.splice(0).map(({ route, request }) => [route.server, request.edits]);

test("goes to each server that declared it, takes a token for each, and is one record at each", async () => {
  const h = harness({ servers });
  expect((await tell(h)).failure).toBeNull();
  expect(sentTo(h)).toEqual([
    ["a", {}],
    ["b", {}],
  ]);
  expect(h.taken.count).toBe(2);
  expect(h.records.map(({ type, facts }) => [type, facts])).toEqual([
    ["call.end", { passes: "notification" }],
    ["call.end", { passes: "notification" }],
  ]);
});

test("S32: an endpoint leads to its own servers only, a toolset to those that it names the method of", async () => {
  const h = harness({ servers, scopes: { b: ["b"], kit: [`a:${said}`], tools: ["a:get"] } });
  for (const scope of ["b", "kit", "tools"]) await tell(h, {}, { scope });
  expect(sentTo(h).map(([server]) => server)).toEqual(["b", "a"]);
});

test("R7: only servers get it where a rule allows that; where none may, the refusal is on record", async () => {
  const h = harness({ servers, rules: { reader: [{ server: "b", action: "allow" }] } });
  await tell(h);
  expect(sentTo(h)).toEqual([["b", {}]]);
  expect((await tell(h, {}, { who: principal("key:o", ["other"]) })).failure?.code).toBe("unknown-method");
  expect(sentTo(h)).toEqual([]);
  expect(types(h.records)).toEqual(["call.end", "call.refused"]);
});

test("one that names a resource goes to its server, under that server's URI, if the resource may be read too", async () => {
  const rules = { reader: [{ resource: "doc://secret", action: "deny" }, { action: "allow" }] };
  const more = { ...servers, a: declares({ resources: [item("twin:a"), item("doc://secret")] }) };
  const h = harness({ servers: more, rules });
  await tell(h, { uri: "gw+a:twin:a" });
  expect(sentTo(h)).toEqual([["a", { uri: '"twin:a"' }]]);
  for (const uri of ["doc://secret", "doc://c"]) expect((await tell(h, { uri })).failure).not.toBeNull();
  expect(sentTo(h)).toEqual([]);
});

test("D6: what cannot be recorded is not passed on; limits bind it; a server without an instance of the caller's is left out", async () => {
  const failing = harness({ servers });
  failing.failing.on = "call.end";
  expect((await tell(failing)).failure?.code).toBe("audit-unavailable");
  expect(sentTo(failing)).toEqual([]);
  const limited = harness({ servers });
  const full = (code: "overloaded" | "rate-limited") => (): never => {
    throw new Failure(code, "No more.");
  };
  for (const limits of [
    { ...quietLimits, admit: full("overloaded") },
    { ...quietLimits, take: full("rate-limited") },
  ]) {
    const gw = { ...limited.gw, limits };
    expect((await tell({ ...limited, gw })).failure?.message).toBe("No more.");
  }
  expect([sentTo(limited), types(limited.records)]).toEqual([[], ["call.refused", "call.refused"]]);
  const shared = harness({ servers, shared: ["a", "b"] });
  expect((await tell(shared)).failure).toBeNull();
  expect([sentTo(shared), shared.records, shared.taken.count]).toEqual([[], [], 0]);
});

test("a server that is down keeps it from no other", async () => {
  const h = harness({ servers: { down: declares(), up: declares() } });
  expect((await tell(h)).failure).toBeNull();
  expect(sentTo(h)).toEqual([["up", {}]]);
});

test("what MCP itself has a notification for is none of an extension's, whatever that is called", async () => {
  const h = harness({ servers });
  for (const method of ["notifications/cancelled", "notifications/message", "notifications/tasks/x", "notifications/x"])
    await tell(h, {}, { method });
  await tell(h, {}, { method: "notifications/roots/list_changed" });
  expect([sentTo(h), h.records, h.told]).toEqual([[], [], ["key:alice notifications/roots/list_changed"]]);
});
