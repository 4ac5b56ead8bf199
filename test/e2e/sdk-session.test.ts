import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { until } from "../support/until.ts";
import { everythingCommand } from "../support/sdk-servers.ts";
import { connectAnswering } from "../support/sdk-answers.ts";
import { textIn } from "../support/wire.ts";

setDefaultTimeout(30_000);

// State of a legacy session rather than of one call: official clients that are asked during several calls, or none.

let daemon: Daemon;
let key = "";
const [command, ...args] = everythingCommand("stdio");

beforeAll(async () => {
  daemon = await start({ servers: [fake("old"), { id: "every", command, args }], policies: [everything()] });
  key = await daemon.place.key("agent");
});

afterAll(() => daemon[Symbol.asyncDispose](), 20_000);

describe.each(["1.x", "2.x legacy"] as const)("client %s", (line) => {
  test("D16: four concurrent calls may all ask the client, and every question is recorded", async () => {
    const before = (await daemon.place.records()).length;
    await using client = await connectAnswering(line, `${daemon.url}/mcp`, key);
    const question = (name: string) => ({
      method: "elicitation/create",
      params: { message: name, requestedSchema: { type: "object", properties: { [name]: { type: "string" } } } },
    });
    const names = ["username", "email", "name", "color"];
    const results = await Promise.all(names.map((name) => client.call("old__ask", question(name))));
    const filled = ["ada", "ada@example.org", "Ada", "green"];
    expect(results.map((result) => JSON.parse(textIn(result)))).toEqual(
      names.map((name, at) => ({ result: { action: "accept", content: { [name]: filled[at] } } })),
    );
    expect(client.asked.length).toBe(4);
    const records = (await daemon.place.records()).slice(before);
    const steps = records.filter(({ type }) => type === "call.input");
    const calls = records.filter(({ type, tool }) => type === "call.begin" && tool === "ask").map(({ call }) => call);
    expect(steps.length).toBe(8);
    // Each call asks once.
    expect(calls.map((id) => steps.filter(({ call }) => call === id).length)).toEqual([2, 2, 2, 2]);
  });

  test("D16: a server that is notified of changed roots asks for them outside of calls, and that is recorded", async () => {
    await using client = await connectAnswering(line, `${daemon.url}/mcp`, key);
    await client.tools();
    const roots = async () => JSON.stringify(await client.call("every__get-roots-list"));
    expect(await roots()).toContain("file:///srv/root");
    // It has asked before; whether that was during the call is up to chance.
    const [before, asked] = [(await daemon.place.records()).length, client.asked.length];
    await client.moveTo("file:///srv/other");
    await until(() => client.asked.length > asked, "the question");
    await until(async () => (await roots()).includes("file:///srv/other"), "the server to have the answer");
    const records = (await daemon.place.records()).slice(before);
    const steps = records.filter(({ type }) => type === "session.input");
    expect(steps).toMatchObject([
      { srv: "every", facts: { asks: "roots/list", outcome: "asked" } },
      { srv: "every", facts: { asks: "roots/list", outcome: "accept" } },
    ]);
    const call = records.find(({ type, tool }) => type === "call.begin" && tool === "get-roots-list");
    expect(steps.map(({ sess }) => sess)).toEqual([call?.sess, call?.sess]);
  });
});
