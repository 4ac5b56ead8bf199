import { describe, expect, test } from "bun:test";
import type { Call, Reply } from "../../../src/core/call.ts";
import type { Gateway } from "../../../src/gateway/gateway.ts";
import { makeTool } from "../../support/call.ts";
import { textIn } from "../../support/wire.ts";
import { asksAndWorks, asksMeanwhile, call, form, never, retry, type Round } from "../ask.ts";
import { allowsNothing, type Asking, bob, harness, type Harness, type Options, send, types } from "../support.ts";

// A waiting call whose caller may no longer make it, so that it can never be continued.

const declares: Asking = { capabilities: { elicitation: {} } };
const accept = '{"action":"accept","content":{}}';
const servers: NonNullable<Options["servers"]> = {
  crm: {
    tools: [makeTool("get"), makeTool("set")],
    prompts: [{ name: "greet", text: "{}" }],
    resources: [{ name: "f:a", text: "{}" }],
  },
};

const forbidding = ({ gw }: Harness): Gateway => ({ ...gw, policy: allowsNothing });
const without = (h: Harness): Gateway => {
  const gw: Gateway = { ...h.gw, catalog: harness({ servers: {} }).gw.catalog, inForce: () => gw };
  return gw;
};

/** Returns the gateway after a reload that renames crm__get. */
const renaming = (h: Harness, wire = "crm__fetch"): Gateway => {
  const { catalog } = h.gw;
  const was = (name: unknown): unknown => (name === wire ? "crm__get" : name === "crm__get" ? "" : name);
  const renamed: Gateway["catalog"] = {
    ...catalog,
    offers: (kind, name, scope, who) => catalog.offers(kind, was(name), scope, who),
    resolve: (asking, kind, name) => ({ ...catalog.resolve(asking, kind, was(name)), wire }),
  };
  const gw: Gateway = { ...h.gw, catalog: renamed, inForce: () => gw };
  return gw;
};

const reloads: [what: string, later: (h: Harness) => Gateway, why: string][] = [
  [
    "removes the right to the target",
    forbidding,
    "The call was ended while it waited for answers: its caller may no longer make it",
  ],
  [
    "removes the server",
    without,
    "The call was ended while it waited for answers: its caller came back with a name that no longer exists",
  ],
];
const things: [method: string, params: Record<string, unknown>][] = [
  ["tools/call", call],
  ["prompts/get", { name: "crm__greet" }],
  ["resources/read", { uri: "f:a" }],
];

describe.each(reloads)("a reload that %s", (_what, later, why) => {
  test.each(things)("ends a waiting %s at its retry, which reports that it may have run", async (method, params) => {
    const h = harness({ servers, script: asksAndWorks });
    const { requestState } = (await send(h.gw, method, params, declares)).result as unknown as Round;
    const { error } = await send(later(h), method, { ...params, requestState }, declares);
    expect(error.code).toBe(-32602);
    expect(error.message).toMatch(
      /^(Unknown|Resource not found)[^.]*\. The call was ended while .* may have run: check/,
    );
    expect(types(h.records)).toEqual(["call.begin", "call.input", "call.end", "call.refused"]);
    const { call: whole } = h.records[2] ?? {};
    expect([whole?.status, whole?.failure?.message]).toEqual(["lost", expect.stringContaining("may have run")]);
    expect(whole?.failure?.message).toStartWith(why);
    expect([whole?.controller.signal.aborted, h.gw.parking.size]).toEqual([true, 0]);
  });
});

const asksTwice = async (running: Call): Promise<Reply> => {
  await running.input?.(form, never);
  return asksAndWorks(running);
};

test("after a reload renames the tool, only a retry under the last used name ends the waiting call", async () => {
  const h = harness({ script: asksTwice });
  const under = (gw: Gateway, name: string, round: unknown) =>
    retry({ ...h, gw }, round, accept, declares, { ...call, name });
  const first = (await send(h.gw, "tools/call", call, declares)).result;
  const second = (await under(renaming(h), "crm__fetch", first)).result;
  expect([second["resultType"], h.gw.parking.size]).toEqual(["input_required", 1]);
  // The caller has already used the new name, and can do so again.
  expect((await under(renaming(h), "crm__get", second)).error.message).toMatch(/^Unknown tool: \S*$/);
  expect(h.gw.parking.size).toBe(1);
  const { error } = await under(renaming(h, "crm__load"), "crm__fetch", second);
  expect(error.message).toMatch(/^Unknown tool: crm__fetch\. The call was ended while .* may have run: check/);
  expect([types(h.records).slice(-2), h.gw.parking.size]).toEqual([["call.end", "call.refused"], 0]);
  expect(h.records.at(-2)?.call.failure?.message).toContain("with a name that no longer exists");
});

/** Returns the gateway after a reload that renames everything. */
const renamingAll = (h: Harness): Gateway => {
  const gw: Gateway = { ...h.gw, catalog: { ...h.gw.catalog, offers: () => false }, inForce: () => gw };
  return gw;
};

test("a retry under any other name ends the waiting call only if its tool has no name any more", async () => {
  const h = harness({ servers: { crm: { tools: [makeTool("get")] } }, script: asksAndWorks });
  const { requestState } = (await send(h.gw, "tools/call", call, declares)).result as unknown as Round;
  const mistaken = { ...call, name: "crm__nothing", requestState };
  for (const gw of [h.gw, renamingAll(h)]) await send(gw, "tools/call", mistaken, declares);
  expect(h.gw.parking.size).toBe(1);
  expect((await send(without(h), "tools/call", mistaken, declares)).error.message).toContain("The call was ended");
  expect(h.gw.parking.size).toBe(0);
});

test("after a reload renames the tool, a retry under the old name ends the waiting call", async () => {
  const h = harness({ script: asksAndWorks });
  const round = (await send(h.gw, "tools/call", call, declares)).result;
  const { error } = await retry({ ...h, gw: renaming(h) }, round, accept, declares);
  expect(error.message).toMatch(/^Unknown tool[^.]*\. The call was ended while .* may have run: check/);
  expect([types(h.records).slice(-2), h.gw.parking.size]).toEqual([["call.end", "call.refused"], 0]);
});

test("a rule on the arguments ends a waiting call at its retry, and is reported", async () => {
  const when = { "args.a": { eq: 1 } };
  const rules = { reader: [{ id: "no-ones", when, action: "deny" }, { action: "allow" }] };
  const h = harness({ script: asksAndWorks });
  const round = (await send(h.gw, "tools/call", call, declares)).result;
  const gw = { ...h.gw, policy: harness({ rules }).gw.policy };
  const refused = await retry({ ...h, gw }, round, accept, declares);
  expect(textIn(refused.result)).toMatch(/no-ones.*The call was ended while .* may have run: check/);
  expect([types(h.records).at(-2), h.gw.parking.size]).toEqual(["call.end", 0]);
});

describe("a refused request", () => {
  const others: [what: string, more: object, asking: Asking, later?: (h: Harness) => Gateway, method?: string][] = [
    ["of another caller", {}, { ...declares, who: bob }],
    ["with other arguments", { arguments: { a: 2 } }, declares],
    ["of another tool", { name: "crm__set" }, declares],
    ["of an unknown tool, while the call's tool exists", { name: "crm__nothing" }, declares, ({ gw }) => gw],
    ["of an unknown tool, while the call's tool has a new name", { name: "crm__nothing" }, declares, renaming],
    ["of another method", {}, declares, forbidding, "prompts/get"],
    ["of the other era", {}, { ...declares, era: "legacy" }],
    ["with a state that was not given out", { requestState: "forged" }, declares, without],
    ["of another caller, after the server is gone", {}, { ...declares, who: bob }, without],
    ["with other arguments, after the server is gone", { arguments: { a: 2 } }, declares, without],
    ["of another method, after the server is gone", {}, declares, without, "prompts/get"],
  ];
  test.each(others)(
    "%s does not end the waiting call",
    async (_what, more, asking, later = forbidding, method = "tools/call") => {
      const h = harness({ servers, script: asksMeanwhile(form) });
      const round = (await send(h.gw, "tools/call", call, declares)).result as unknown as Round;
      const params = { ...call, requestState: round.requestState, inputResponses: {}, ...more };
      const { error } = await send(later(h), method, params, asking);
      expect(error.message).not.toContain("ended");
      expect(h.gw.parking.size).toBe(1);
      expect((await retry(h, round, accept, declares)).result).toMatchObject({ resultType: "complete" });
    },
  );
});

test("a refused request for an unknown resource does not end a waiting read of another resource", async () => {
  const h = harness({ servers, script: asksAndWorks });
  const { requestState } = (await send(h.gw, "resources/read", { uri: "f:a" }, declares)).result as unknown as Round;
  const { error } = await send(h.gw, "resources/read", { uri: "mcpgw+gone:f", requestState }, declares);
  expect(error.message).toBe("Resource not found: mcpgw+gone:f");
  expect(h.gw.parking.size).toBe(1);
});
