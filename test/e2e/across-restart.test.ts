import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type Fixture, startFixture } from "../support/conformance.ts";
import { type Daemon, everything, Place } from "../support/daemon.ts";
import { modern, pick, textOf } from "../support/wire.ts";

setDefaultTimeout(30_000);

// What a server gave a client of 2026-07-28 belongs to that client alone, and stays valid in the gateway's next run.

let fixture: Fixture;
let place: Place;

beforeAll(async () => {
  fixture = await startFixture("modern");
  place = new Place({ servers: [{ id: "neo", url: fixture.url }], policies: [everything()] });
});

afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
  place[Symbol.dispose]();
});

const capabilities = { elicitation: { form: {} }, extensions: { "io.modelcontextprotocol/tasks": {} } };
const declares = { meta: { "io.modelcontextprotocol/clientCapabilities": capabilities } };

async function ask(daemon: Daemon, key: string, method: string, params: Record<string, unknown>): Promise<unknown> {
  const { body, headers } = modern(method, params, declares);
  const names = method === "tasks/get" ? { "mcp-name": String(params["taskId"]) } : {};
  return (await daemon.post(body, { key, headers: { ...headers, ...names } })).json;
}

test("D12: a question and a task survive a restart of the gateway, and stay with their caller", async () => {
  const call = { name: "neo__test_input_required_result_request_state", arguments: {} };
  const work = { name: "neo__slow_compute", arguments: { seconds: 0.01 } };
  const keys: string[] = [];
  let requestState: unknown;
  let taskId: unknown;
  {
    await using daemon = await place.start();
    keys.push(await place.key("agent"), await place.key("other"));
    requestState = pick(await ask(daemon, keys[0] ?? "", "tools/call", call), "result.requestState");
    taskId = pick(await ask(daemon, keys[0] ?? "", "tools/call", work), "result.taskId");
  }
  await using daemon = await place.start();
  const inputResponses = { confirm: { action: "accept", content: { ok: true } } };
  const [owner, other] = await Promise.all(
    keys.map(async (key) => ({
      answered: await ask(daemon, key, "tools/call", { ...call, requestState, inputResponses }),
      task: await ask(daemon, key, "tasks/get", { taskId }),
    })),
  );
  expect(textOf(owner?.answered)).toBe("state-ok");
  expect(owner?.task).toMatchObject({ result: { taskId, status: "completed" } });
  for (const refused of [other?.answered, other?.task]) expect(refused).toMatchObject({ error: { code: -32602 } });
});
