import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { connect, type Peer } from "../../support/sdk.ts";

const entry = join(import.meta.dir, "../../fixtures/calculator.ts");
let client: Peer;

beforeAll(async () => {
  client = await connect("1.x", { command: [process.execPath, entry], env: {} });
});
afterAll(() => client.close());

test("R129 the tools are listed with schemas for input and output", async () => {
  const tools = await client.tools();
  expect(tools.map(({ name }) => name)).toEqual(["exact_calculate", "statistics", "convert_units"]);
  for (const tool of tools) {
    expect(tool).toMatchObject({
      annotations: { readOnlyHint: true, openWorldHint: false },
      outputSchema: { type: "object" },
    });
  }
  expect(tools[0]).toHaveProperty("inputSchema.properties.operator.enum", expect.arrayContaining(["add", "sqrt"]));
});

test.each([
  [
    "exact_calculate",
    { operator: "add", operands: ["1.2", "2.3"], precision: 28 },
    { result: "3.5", exact: true },
    "3.5",
  ],
  ["exact_calculate", { operator: "divide", operands: [1, 3] }, { exact: false }, /^0\.3{28}$/],
  ["statistics", { values: [1, 2] }, { mean: "1.5", count: 2 }, '"median":"1.5"'],
  ["convert_units", { value: "1", from: "km", to: "m" }, { result: "1000", dimension: "length" }, "1000"],
])("R129 %s answers with text and structured content", async (name, args, structured, text) => {
  const result = await client.call(name, args);
  expect(result).toMatchObject({
    structuredContent: structured,
    content: [{ type: "text", text: expect.stringMatching(text) }],
  });
  expect(result).not.toHaveProperty("isError");
});

test.each([
  ["exact_calculate", { operator: "divide", operands: ["1", "0"] }, "Error: division by zero."],
  ["exact_calculate", { operator: "frobnicate", operands: ["1"] }, "operator"],
  ["exact_calculate", { operator: "add", operands: ["1"], precision: 1001 }, "precision"],
  ["exact_calculate", { operator: "add", operands: Array(1001).fill("1") }, "operands"],
  ["statistics", { values: [] }, "values"],
  ["statistics", { values: Array(1001).fill("1") }, "values"],
  ["convert_units", { value: "1", from: "km", to: "parsec" }, "unknown unit"],
])("R129 %s refuses invalid input and says why", async (name, args, why) => {
  const result = await client.call(name, args);
  expect(result).toMatchObject({ isError: true, content: [{ type: "text", text: expect.stringContaining(why) }] });
});

test("R129 the server answers every request and exits when stdin ends", async () => {
  const child = Bun.spawn([process.execPath, entry], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const message = (id: number, method: string, params: object): string =>
    `${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`;
  void child.stdin.write(
    message(0, "initialize", {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "t", version: "0" },
    }),
  );
  for (let id = 1; id <= 200; id++) {
    const args = { operator: "multiply", operands: [`${id}`, "2"] };
    void child.stdin.write(message(id, "tools/call", { name: "exact_calculate", arguments: args }));
  }
  await child.stdin.end();
  const lines = (await new Response(child.stdout).text()).trim().split("\n");
  expect(lines).toHaveLength(201);
  expect(lines.join("\n")).toContain('"text":"400"');
  expect(await child.exited).toBe(0);
});
