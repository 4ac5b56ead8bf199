import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { makeTool } from "../support/call.ts";
import { asksByResult, asksMeanwhile, form, type Round } from "./ask.ts";
import { alice, type Asking, bob, harness, type Harness, type Options, received, send } from "./support.ts";

// S07: what comes back as requestState is the caller's to forge.

const declares = { capabilities: { elicitation: {} } };
const servers: NonNullable<Options["servers"]> = {
  crm: {
    tools: [makeTool("get"), makeTool("set")],
    prompts: [{ name: "get", text: "{}" }],
    resources: [
      { name: "f:a", text: "{}" },
      { name: "f:b", text: "{}" },
    ],
  },
  erp: { tools: [makeTool("get")] },
};
const params = { name: "crm__get", arguments: { id: 12 } };

const open = async (h: Harness): Promise<string> =>
  ((await send(h.gw, "tools/call", params, declares)).result as unknown as Round).requestState;

const again = (
  h: Harness,
  requestState: unknown,
  more: object = {},
  asking: Asking = declares,
  method = "tools/call",
) => send(h.gw, method, { ...params, ...more, requestState, inputResponses: {} }, { ...asking, id: "2" });

const kinds: [kind: string, script: NonNullable<Options["script"]>][] = [
  ["the state of a modern server", asksByResult(form)],
  ["a call that waits", asksMeanwhile(form)],
];

describe.each(kinds)("%s", (_kind, script) => {
  const attempts: [what: string, attempt: (h: Harness, state: string) => ReturnType<typeof send>][] = [
    ["somebody else's", (h, state) => again(h, state, {}, { ...declares, who: bob })],
    ["for other arguments", (h, state) => again(h, state, { arguments: { id: 13 } })],
    [
      "for arguments that parse to the same number",
      (h, state) => again(h, state, { arguments: { id: 12, x: undefined, y: 1 } }),
    ],
    ["for another tool", (h, state) => again(h, state, { name: "crm__set" })],
    ["for the same tool of another server", (h, state) => again(h, state, { name: "erp__get" })],
    ["for another method", (h, state) => again(h, state, {}, declares, "prompts/get")],
    ["cut", (h, state) => again(h, state.slice(0, -1))],
    ["with one character changed", (h, state) => again(h, `${state.startsWith("A") ? "B" : "A"}${state.slice(1)}`)],
    ["that is no text", (h) => again(h, 7)],
    ["that is null", (h) => again(h, null)],
    ["that is empty", (h) => again(h, "")],
    [
      "that has expired",
      (h, state) => {
        h.clock.advance(10 * 60_000 + 1);
        return again(h, state);
      },
    ],
  ];
  test.each(attempts)(
    "a state %s is refused, in the same words, and nothing reaches the server",
    async (_what, attempt) => {
      const h = harness({ servers, script });
      const state = await open(h);
      const before = h.sent.length;
      const { error, call } = await attempt(h, state);
      expect(error).toEqual({
        code: -32602,
        message:
          "This requestState was not given to you for this request, was used already or has expired; make the call anew.",
      });
      expect(call.failure?.code).toBe("bad-state");
      expect(h.sent).toHaveLength(before);
      expect(h.records.at(-1)?.type).toBe("call.refused");
    },
  );

  test("what was refused can still be answered by its caller", async () => {
    const h = harness({ servers, script });
    const state = await open(h);
    await again(h, state, {}, { ...declares, who: bob });
    await again(h, state, { arguments: {} });
    expect((await again(h, state)).error).toBeUndefined();
  });
});

test("a state of a modern server may be brought back again until it expires: an answer may get lost", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const state = await open(h);
  for (const left of [10, 5, 1]) {
    expect((await again(h, state)).error).toBeUndefined();
    h.clock.advance((left / 16) * 10 * 60_000 - 1);
  }
  h.clock.advance(60_000);
  expect((await again(h, state)).call.failure?.code).toBe("bad-state");
});

test("where the server gave no state, none is given and the answers alone come back", async () => {
  const h = harness({ servers, script: asksByResult(form, null) });
  const first = await send(h.gw, "tools/call", params, declares);
  expect(first.result).not.toHaveProperty("requestState");
  const inputResponses = { k: { action: "accept", content: { n: 1 } } };
  const { result } = await send(h.gw, "tools/call", { ...params, inputResponses }, declares);
  expect(result).toMatchObject({ got: inputResponses, state: null });
});

test("answers that are no object are refused; others travel as they were written", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const state = await open(h);
  for (const inputResponses of [7, [], "x", null]) {
    const { error } = await send(h.gw, "tools/call", { ...params, requestState: state, inputResponses }, declares);
    expect(error.code).toBe(-32602);
  }
  const text = '{"k":{"action":"accept","content":{"n":12345678901234567890,"m":1.10}}}';
  const raw = `{"name":"crm__get","arguments":{"id":12},"inputResponses":${text},"requestState":${JSON.stringify(state)}}`;
  expect((await send(h.gw, "tools/call", raw, declares)).call.reply?.text).toContain(text);
});

test("a legacy caller's requestState and inputResponses mean nothing", async () => {
  const h = harness({ servers });
  const { error } = await again(h, "forged", {}, { era: "legacy" });
  expect(error).toBeUndefined();
  for (const era of ["legacy", "modern"] as const) {
    expect(h.sent.map((one) => received(one, era))).toEqual([
      expect.not.objectContaining({ requestState: expect.anything() }),
    ]);
  }
});

test("a resource is bound by its URI, a prompt by its arguments", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const read = (uri: string, more = {}) => send(h.gw, "resources/read", { uri, ...more }, declares);
  const { requestState } = (await read("f:a")).result as unknown as Round;
  expect((await read("f:b", { requestState })).error.code).toBe(-32602);
  expect((await read("f:a", { requestState })).result).toMatchObject({ state: "its own state", ttlMs: 0 });
  const get = (args: object, more = {}) =>
    send(h.gw, "prompts/get", { name: "crm__get", arguments: args, ...more }, declares);
  const prompt = (await get({ a: "1" })).result as unknown as Round;
  expect((await get({ a: "2" }, { requestState: prompt.requestState })).error.code).toBe(-32602);
  expect((await get({ a: "1" }, { requestState: prompt.requestState })).error).toBeUndefined();
});

test("S07: no text that was not given out opens anything", async () => {
  const h = harness({ servers, script: asksByResult(form) });
  const state = await open(h);
  const before = h.sent.length;
  const forged = fc.oneof(
    fc.base64String(),
    fc.string(),
    fc
      .tuple(fc.nat(state.length - 1), fc.constantFrom("A", "Z", "a", "9", "-", "_", "="))
      .map(([at, char]) => state.slice(0, at) + char + state.slice(at + 1)),
  );
  await fc.assert(
    fc.asyncProperty(
      forged.filter((text) => text !== state),
      async (text) => {
        expect((await again(h, text)).call.failure?.code).toBe("bad-state");
      },
    ),
    { numRuns: 200 },
  );
  expect(h.sent).toHaveLength(before);
  expect(alice.id).toBe("key:alice");
});
