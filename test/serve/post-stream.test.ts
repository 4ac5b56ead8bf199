import { expect, test } from "bun:test";
import type { Call } from "../../src/core/call.ts";
import { rejectionOf } from "../support/failure.ts";
import { Door, said } from "../support/front-door.ts";
import { modern, numberedOf, pick, toolCall } from "../support/wire.ts";

const roots = { method: "roots/list", params: "{}" } as const;
const note = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}';

test.each(["as JSON", "on a stream"])(
  "messages and questions of a call that was answered %s are dropped",
  async (how) => {
    const calls: Call[] = [];
    await using door = new Door((call) => {
      calls.push(call);
      if (how === "on a stream") call.emit?.(note);
      return said("done");
    });
    const headers = await door.session("2025-11-25", { capabilities: { roots: {} } });
    await door.post(toolCall("echo"), { headers });
    const [call] = calls;
    call?.emit?.(note);
    const asked = call?.ask?.(roots, new AbortController().signal) ?? Promise.resolve();
    expect((await rejectionOf(asked)).code).toBe("cancelled");
    expect([door.traffic.streams, door.traffic.asked]).toEqual([0, 0]);
  },
);

test("a message of a modern call that was already answered opens no stream", async () => {
  const calls: Call[] = [];
  await using door = new Door((call) => {
    calls.push(call);
    return said("done");
  });
  const { body, headers } = modern("tools/call", { name: "echo" }, { meta: { progressToken: 1 } });
  await door.post(body, { headers });
  calls[0]?.emit?.(note);
  expect(door.traffic.streams).toBe(0);
});

test("a message of an extension reaches a modern client that declared an extension, over HTTP and on its own connection", async () => {
  const news = '{"jsonrpc":"2.0","method":"acme/said","params":{"n":1}}';
  await using door = new Door((call) => {
    call.emit?.(news);
    return said("done");
  });
  const meta = { "io.modelcontextprotocol/clientCapabilities": { extensions: { "com.acme/acme": {} } } };
  const { body, headers } = modern("tools/call", { name: "echo" }, { meta });
  const events = await Array.fromAsync(numberedOf(await door.send(body, { headers })));
  expect(events.map(({ data }) => pick(data, "method"))).toEqual(["acme/said", undefined]);
  const json = await door.post(body, { headers: { ...headers, accept: "application/json" } });
  expect(json.headers.get("content-type")).toBe("application/json");
  const sent: unknown[] = [];
  const connection = door.connection((message) => void sent.push(message));
  await connection.receive(JSON.stringify(body));
  connection.close();
  expect(sent.map((message) => pick(message, "method"))).toEqual(["acme/said", undefined]);
});
