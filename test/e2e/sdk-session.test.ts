import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { connectAnswering } from "../support/sdk-answers.ts";

// What is a legacy session's, not one call's: official clients that are asked during several calls at once.

let daemon: Daemon;
let key = "";

beforeAll(async () => {
  daemon = await start({ servers: [fake("old")], policies: [everything()] });
  key = await daemon.place.key("agent");
}, 20_000);

afterAll(() => daemon[Symbol.asyncDispose](), 20_000);

const textOf = (result: unknown): unknown =>
  JSON.parse((result as { content: readonly { text: string }[] }).content[0]?.text ?? "null");

describe.each(["1.x", "2.x legacy"] as const)("client %s", (line) => {
  test("D16: four calls at once may all ask it, and every question is on record", async () => {
    const before = (await daemon.place.records()).length;
    await using client = await connectAnswering(line, `${daemon.url}/mcp`, key);
    const question = (name: string) => ({
      method: "elicitation/create",
      params: { message: name, requestedSchema: { type: "object", properties: { [name]: { type: "string" } } } },
    });
    const names = ["username", "email", "name", "color"];
    const results = await Promise.all(names.map((name) => client.call("old__ask", question(name))));
    const filled = ["ada", "ada@example.org", "Ada", "green"];
    expect(results.map(textOf)).toEqual(
      names.map((name, at) => ({ result: { action: "accept", content: { [name]: filled[at] } } })),
    );
    expect(client.asked.length).toBe(4);
    const records = (await daemon.place.records()).slice(before);
    const steps = records.filter(({ type }) => type === "call.input");
    const calls = records.filter(({ type, tool }) => type === "call.begin" && tool === "ask").map(({ call }) => call);
    expect(steps.length).toBe(8);
    // Each call is asked once, as each asks once.
    expect(calls.map((id) => steps.filter(({ call }) => call === id).length)).toEqual([2, 2, 2, 2]);
  }, 20_000);
});
