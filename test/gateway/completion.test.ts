import { expect, test } from "bun:test";
import { harness, received, send } from "./support.ts";

const servers = { crm: { prompts: [{ name: "greet", text: '{"name":"greet"}' }] } };

test("a malformed completion, which its record would not fully show, reaches no server", async () => {
  const ref = { type: "ref/prompt", name: "crm__greet" };
  const argument = { name: "n", value: "v" };
  const odd = [
    { ref },
    { ref, argument: ["n"] },
    { ref, argument: { name: 5, value: "v" } },
    { ref, argument: { name: "n", value: { a: 1 } } },
    { ref, argument, context: "a" },
    { ref, argument, context: { arguments: ["a"] } },
    { ref, argument, context: { arguments: "a" } },
  ];
  const { gw, sent } = harness({ servers });
  const refusal = async (params: object) => (await send(gw, "completion/complete", params, { era: "legacy" })).error;
  for (const params of odd) expect(await refusal(params)).toMatchObject({ code: -32602 });
  expect(sent).toEqual([]);
  for (const context of [null, {}, { arguments: null }, { arguments: { a: "1" } }])
    expect(await refusal({ ref, argument, context })).toBeUndefined();
});

test("S27: members that a case-insensitive server would read as recorded ones reach no server", async () => {
  const posed = `{"ref":{"type":"ref/prompt","name":"crm__greet"},"Argument":{"name":"a"},"CONTEXT":{},
    "argument":{ "Name":"b", "name":"n","VALUE":"w","value":"v\\u0061", "x":1.10},
    "context":{"arguments":{"N":"1","n":"2"},"argumentſ":{"c":"d"}}}`;
  const { gw, sent } = harness({ servers });
  expect((await send(gw, "completion/complete", posed, { era: "legacy" })).error).toBeUndefined();
  const [argument, context] = [sent[0]?.request.edits["argument"], sent[0]?.request.edits["context"]];
  expect([argument, context]).toEqual([
    '{ "name":"n","value":"v\\u0061", "x":1.10}',
    '{"arguments":{"N":"1","n":"2"}}',
  ]);
  expect(sent.map((one) => received(one, "legacy"))).toEqual([
    {
      ref: { type: "ref/prompt", name: "greet" },
      argument: { name: "n", value: "va", x: 1.1 },
      context: { arguments: { N: "1", n: "2" } },
    },
  ]);
});

test("a completion without a valid reference is refused", async () => {
  const { gw } = harness({ servers });
  for (const ref of [undefined, 7, {}, { type: "ref/tool", name: "crm__get" }]) {
    expect((await send(gw, "completion/complete", { ref })).error).toMatchObject({ code: -32602 });
  }
});
