import { expect, test } from "bun:test";
import { operations, type Name, type Row } from "../../src/control/api.ts";
import type { Context } from "../../src/control/contract.ts";
import { parseInput } from "../../src/control/dispatch.ts";
import { localClient } from "../../src/control/local.ts";
import { mcpTools } from "../../src/control/mcp-tools.ts";
import type { Access } from "../../src/control/peer.ts";
import { Refusal } from "../../src/control/refusal.ts";
import { admin, contextOf } from "../support/context.ts";
import { sampleHandlers } from "../support/control-answers.ts";
import { rejectionOf } from "../support/failure.ts";

/** A valid input for each operation. */
const inputs: Partial<Record<Name, unknown>> = {
  "keys.create": { name: "n", consumerId: "c", roles: ["r"] },
  "keys.revoke": { id: "k" },
  "keys.rotate": { id: "k" },
  "servers.show": { id: "files" },
  "servers.restart": { id: "files" },
  "servers.logs": { id: "files" },
  "servers.follow": { id: "files" },
  "tools.call": { tool: "a:b" },
  "audit.show": { seq: 1 },
  why: { who: "agent-prod", target: "files:read_file" },
};

async function outcome(access: Access, name: Name, input: unknown, handlers = sampleHandlers()): Promise<string> {
  const client = localClient(handlers, contextOf(access), () => {});
  try {
    // Each operation gets its own input; the types of the table check the pairs elsewhere.
    if ("stream" in operations[name]) for await (const _ of client.stream(name as "tail", input as never)) break;
    else await client.call(name as "status", input as never);
    return "done";
  } catch (error) {
    return error instanceof Refusal ? error.code : String(error);
  }
}

const names = Object.keys(operations) as Name[]; // the table's own keys

test.each(names)("R124 D10: %s requires the access that the table says", async (name) => {
  const input = inputs[name] ?? {};
  expect(await outcome("admin", name, input)).toBe("done");
  expect(await outcome("read", name, input)).toBe(operations[name].access === "read" ? "done" : "denied");
  expect(await outcome("attach", name, input)).toBe("denied");
});

test.each([
  ["audit.show", { seq: 1, payloads: true }],
  ["audit.export", { payloads: true }],
] as const)("payloads of %s are for administrators only", async (name, input) => {
  expect(await outcome("admin", name, input)).toBe("done");
  expect(await outcome("read", name, input)).toBe("denied");
});

test("a peer that may only attach is told which options name the groups with more rights", async () => {
  const client = localClient(sampleHandlers(), contextOf("attach"), () => {});
  expect((await rejectionOf(client.call("status", {}))).message).toContain("control.adminGroup or control.readGroup");
});

const recordedFirst = names.filter((name) => "before" in ((operations[name] as Row).recorded ?? {}));

test.each(recordedFirst)(
  "D9: %s is recorded before it runs, and does not run if it cannot be recorded",
  async (name) => {
    const { adminWhen } = operations[name] as Row;
    const input = { ...(inputs[name] as object), ...(adminWhen !== undefined && { [adminWhen]: true }) };
    const happened: string[] = [];
    const sample = sampleHandlers();
    const plan = sample[name] as (input: unknown, ctx: Context) => { facts: object; run(): unknown };
    const watched = (given: unknown, ctx: Context) => {
      const { facts, run } = plan(given, ctx);
      return { facts, run: () => (happened.push("done"), run()) };
    };
    const run = (recordAct: () => Promise<void>) =>
      outcome("admin", name, input, { ...sample, [name]: watched, recordAct });
    expect(await run(() => Promise.reject(new Refusal("unavailable", "the log is full")))).toBe("unavailable");
    expect(happened).toEqual([]);
    expect(await run(async () => void happened.push("recorded"))).toBe("done");
    expect(happened).toEqual(["recorded", "done"]);
  },
);

test.each(["audit.show", "audit.export"] as const)("%s without payloads is not an act", async (name) => {
  const recordAct = () => Promise.reject(new Refusal("unavailable", "the log is full"));
  expect(await outcome("read", name, inputs[name] ?? {}, sampleHandlers({ recordAct }))).toBe("done");
});

test.each(names)("%s answers as the table describes, and refuses an unknown member", async (name) => {
  const client = localClient(sampleHandlers(), admin, () => {});
  const input = (inputs[name] ?? {}) as never; // as above
  const values: unknown[] = [];
  if ("stream" in operations[name]) for await (const value of client.stream(name as "tail", input)) values.push(value);
  else values.push(await client.call(name as "status", input));
  expect(values).not.toEqual([]);
  // Parsing would drop members that the table does not describe.
  for (const value of values) expect<unknown>(operations[name].output.parse(value)).toEqual(value);
  expect(await outcome("admin", name, { ...(inputs[name] as object), surplus: 1 })).toBe("invalid");
});

test("R27: the gateway has these eight tools, and all except call are read-only", () => {
  const tools = mcpTools();
  expect(tools.map(({ name }) => name).toSorted()).toEqual([
    "audit_log",
    "audit_stats",
    "audit_verify",
    "call",
    "list_servers",
    "list_tools",
    "server_status",
    "usage",
  ]);
  expect(tools.filter(({ readOnly }) => !readOnly).map(({ name }) => name)).toEqual(["call"]);
  // Members with a default are optional.
  expect(tools.find(({ name }) => name === "call")?.inputSchema).toMatchObject({ required: ["tool"] });
});

test.each([
  ["audit.show", { seq: 0 }, "seq: must be more than 0"],
  ["keys.create", { name: "", consumerId: "c", roles: ["r"] }, "name: must have at least 1 character"],
  ["keys.create", { name: "n", consumerId: "c", roles: [] }, "roles: must have at least 1 entry"],
  [
    "keys.create",
    { name: "n", consumerId: "c", roles: ["r"], cidrs: ["x"] },
    "cidrs.0: not a network; write an address",
  ],
  [
    "keys.create",
    { name: 7, consumerId: "c", roles: ["r"] },
    "name: expected a string, got a number; put it in quotes",
  ],
  ["usage", { by: "weather" }, 'by: expected consumer, server, tool, tag, day or hour, got "weather"'],
  ["usage", { weather: 1 }, "unknown member weather"],
] as const)("%s %j: %s", (name, input, says) => {
  expect(() => parseInput(name, input)).toThrow(says);
});

test("a single address is a valid network", () => {
  const key = { name: "n", consumerId: "c", roles: ["r"], cidrs: ["127.0.0.1", "::1", "10.0.0.0/8"] };
  expect(parseInput("keys.create", key)).toMatchObject({ cidrs: key.cidrs });
});

test.each(["constructor", "keys.lst"])("%s is not an operation", async (name) => {
  const client = localClient(sampleHandlers(), admin, () => {});
  const refused = client.call(name as "status", {}).catch((error: Refusal) => error.code);
  expect(await refused).toBe("unknown-operation");
});
