import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Fixture, startFixture } from "../support/conformance.ts";
import { type Daemon, everything, start } from "../support/daemon.ts";
import { type Answering, connectAnswering } from "../support/sdk-answers.ts";
import { type Line, lines, unstamped } from "../support/sdk.ts";

setDefaultTimeout(30_000);

// The four combinations of client era × server era: through the gateway an official client sees what it would see of a
// server of its own era directly, and the server receives what the client sent.

const questions: readonly [tool: string, args: Record<string, unknown>, asks: number][] = [
  ["test_elicitation", { message: "Who are you?" }, 1],
  ["test_sampling", { prompt: "What is the capital of France?" }, 1],
  ["test_input_required_result_list_roots", {}, 1],
  ["test_input_required_result_request_state", {}, 1],
  ["test_input_required_result_multi_round", {}, 2],
  ["test_input_required_result_multiple_inputs", {}, 3],
];

let fixtures: { legacy: Fixture; modern: Fixture };
let daemon: Daemon;
let key = "";

beforeAll(async () => {
  const [legacy, modern] = await Promise.all([startFixture("legacy"), startFixture("modern")]);
  fixtures = { legacy, modern };
  daemon = await start({
    servers: [
      { id: "legacy", url: legacy.url },
      { id: "modern", url: modern.url },
    ],
    policies: [everything()],
  });
  key = await daemon.place.key("agent");
}, 60_000);

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await Promise.all([fixtures.legacy[Symbol.asyncDispose](), fixtures.modern[Symbol.asyncDispose]()]);
});

const eras = ["legacy", "modern"] as const;

const directly = (line: Line): Promise<Answering> =>
  connectAnswering(line, line === "2.x modern" ? fixtures.modern.url : fixtures.legacy.url);

describe.each(lines)("client %s", (line) => {
  test.each(eras)(
    "D3: when a %s server asks it, it answers as it would directly",
    async (era) => {
      await using through = await connectAnswering(line, `${daemon.url}/mcp`, key);
      await using direct = await directly(line);
      for (const [tool, args, asks] of questions) {
        through.asked.length = direct.asked.length = 0;
        const [result, expected] = [await through.call(`${era}__${tool}`, args), await direct.call(tool, args)];
        expect({ tool, result: unstamped(result) }).toEqual({ tool, result: unstamped(expected) });
        expect(through.asked.map(({ method }) => method)).toEqual(direct.asked.map(({ method }) => method));
        expect(through.asked).toHaveLength(asks);
      }
    },
    60_000,
  );

  test.each(eras)(
    "D3: a prompt of a %s server that asks, and its resources",
    async (era) => {
      await using through = await connectAnswering(line, `${daemon.url}/mcp`, key);
      await using direct = await directly(line);
      const prompt = "test_input_required_result_prompt";
      expect(unstamped(await through.prompt(`${era}__${prompt}`))).toEqual(unstamped(await direct.prompt(prompt)));
      const simple = await through.prompt(`${era}__test_prompt_with_arguments`, { arg1: "a", arg2: "b" });
      const there = await direct.prompt("test_prompt_with_arguments", { arg1: "a", arg2: "b" });
      expect(unstamped(simple)).toEqual(unstamped(there));
      const uri = "test://static-text";
      const [read, plain] = [await through.read(`mcpgw+${era}:${uri}`), await direct.read(uri)];
      expect(JSON.stringify(unstamped(read)).replace(`mcpgw+${era}:`, "")).toBe(JSON.stringify(unstamped(plain)));
    },
    60_000,
  );

  test.each(eras)(
    "FIELD T66: progress of a %s server arrives in order",
    async (era) => {
      await using through = await connectAnswering(line, `${daemon.url}/mcp`, key);
      const seen: unknown[] = [];
      await through.call(`${era}__test_tool_with_progress`, {}, { onprogress: (one) => seen.push(one) });
      expect(seen).toEqual([0, 50, 100].map((progress) => expect.objectContaining({ progress, total: 100 })));
    },
    60_000,
  );
});
