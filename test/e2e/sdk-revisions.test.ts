import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, everything, Place, servesParent, start } from "../support/daemon.ts";
import { linesOf } from "../support/seen.ts";
import { initialize, pick, request, textOf, toolCall } from "../support/wire.ts";

setDefaultTimeout(30_000);

// Each legacy revision as bare messages, so that no library adds or tolerates anything.

const revisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] as const;
const third = { operator: "divide", operands: ["1", "3"], precision: 5 };
const config = {
  auth: servesParent,
  servers: [{ id: "calculator", builtin: "calculator" }],
  policies: [everything()],
};

let daemon: Daemon;
let alone: Place;
let key = "";

beforeAll(async () => {
  alone = new Place(config);
  daemon = await start(config);
  key = await daemon.place.key("agent");
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  alone[Symbol.dispose]();
});

/** Sends one message and resolves to its answer; null for a notification. */
type Exchange = (message: Readonly<Record<string, unknown>>) => Promise<unknown>;

/** Everything that a client of this revision does with tools, with the expected results. */
async function tour(revision: string, exchange: Exchange): Promise<void> {
  expect(await exchange(initialize(revision, "first"))).toMatchObject({
    id: "first",
    result: {
      protocolVersion: revision,
      capabilities: { tools: { listChanged: true } },
      serverInfo: { name: "mcpgw" },
    },
  });
  expect(await exchange({ jsonrpc: "2.0", method: "notifications/initialized" })).toBeNull();
  expect(await exchange(request("ping", {}, 1))).toEqual({ jsonrpc: "2.0", id: 1, result: {} });
  const listed = await exchange(request("tools/list", {}, 2));
  expect(pick(listed, "result.tools")).toContainEqual(
    expect.objectContaining({ name: "calculator__exact_calculate", inputSchema: expect.anything() }),
  );
  const answer = await exchange(toolCall("calculator__exact_calculate", third, 3));
  expect(textOf(answer)).toBe("0.33333");
  // Members that only 2026-07-28 has must not appear in an older revision.
  expect(Object.keys(pick(answer, "result") as object)).not.toContain("resultType");
  const wrong = await exchange(toolCall("calculator__exact_calculate", {}, 4));
  if (revision === "2025-11-25") expect(wrong).toMatchObject({ id: 4, result: { isError: true } });
  else expect(wrong).toMatchObject({ id: 4, error: { code: -32602 } });
  expect(await exchange(request("tasks/list", {}, 5))).toMatchObject({ id: 5, error: { code: -32601 } });
}

describe.each(revisions)("revision %s", (revision) => {
  test("R126: over HTTP, from initialize to the end of the session", async () => {
    const headers: Record<string, string> = {};
    await tour(revision, async (message) => {
      const answer = await daemon.post(message, { key, headers });
      const session = answer.headers.get("mcp-session-id");
      if (session) headers["mcp-session-id"] = session;
      // The header was introduced with 2025-06-18.
      if (session && revision >= "2025-06-18") headers["mcp-protocol-version"] = revision;
      if ("id" in message) return answer.json;
      expect([answer.status, answer.text]).toEqual([202, ""]);
      return null;
    });
    const end = await fetch(`${daemon.url}/mcp`, {
      method: "DELETE",
      headers: { ...headers, authorization: `Bearer ${key}` },
    });
    expect(end.status).toBe(204);
    const late = await daemon.post(request("ping", {}, "late"), { key, headers });
    expect([late.status, pick(late.json, "id")]).toEqual([404, "late"]);
  });

  test.each(["beside a daemon", "alone"])("R22 R126: over stdio %s, until the client closes", async (how) => {
    const place = how === "alone" ? alone : daemon.place;
    const child = place.spawn(["serve"], how === "alone" ? {} : { MCPGW_API_KEY: key });
    const answers = answersOf(child.stdout);
    await tour(revision, async (message) => {
      void child.stdin.write(`${JSON.stringify(message)}\n`);
      await child.stdin.flush();
      return "id" in message ? (await answers.next()).value : null;
    });
    await child.stdin.end();
    expect(await child.exited).toBe(0);
    expect(await answers.next()).toEqual({ done: true, value: undefined });
  });
});

/** Returns the messages with an id; notifications such as a changed list may come between them. */
async function* answersOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<unknown, undefined> {
  for await (const line of linesOf(stream)) {
    const message: unknown = JSON.parse(line);
    if (pick(message, "id") !== undefined) yield message;
  }
}
