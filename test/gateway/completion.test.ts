import { expect, test } from "bun:test";
import { harness, send } from "./support.ts";

const servers = { crm: { prompts: [{ name: "greet", text: '{"name":"greet"}' }] } };

test("a completion of another form, of which its record would not show all, reaches no server", async () => {
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

test("completion of nothing is refused", async () => {
  const { gw } = harness({ servers });
  for (const ref of [undefined, 7, {}, { type: "ref/tool", name: "crm__get" }]) {
    expect((await send(gw, "completion/complete", { ref })).error).toMatchObject({ code: -32602 });
  }
});
