import { expect, test } from "bun:test";
import type { Call } from "../../src/core/call.ts";
import { rejectionOf } from "../support/failure.ts";
import { Door, said } from "../support/front-door.ts";
import { modern, toolCall } from "../support/wire.ts";

const roots = { method: "roots/list", params: "{}" } as const;
const note = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}';

test.each(["as JSON", "on a stream"])(
  "what is asked or said of a call that was answered %s reaches nobody",
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

test("what is said of a modern call that was answered opens no stream", async () => {
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
