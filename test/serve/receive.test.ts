import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { refused } from "../../src/serve/receive.ts";
import { askedOn, Door, said } from "../support/front-door.ts";
import { pick, toolCall } from "../support/wire.ts";

const legacy = "2025-11-25";

test("a message that is not a request is refused under its id, unless it may be a client's answer to a question", () => {
  const fault = new Failure("invalid-request", "This is not a request.");
  const id = (text: string, revision: typeof legacy | null, headers: Headers | null = null) =>
    refused(text, { headers, revision }, fault).inbound.idText;
  for (const text of ['{"jsonrpc":"2.0","id":5}', '{"jsonrpc":"2.0","id":5,"result":null}']) {
    expect(id(text, legacy)).toBeNull();
    // Before `initialize` and in 2026-07-28 there are no questions, and over HTTP a refusal belongs to its request.
    expect([id(text, null), id(text, legacy, new Headers())]).toEqual(["5", "5"]);
  }
  expect(id('{"jsonrpc":"2.0","id":5,"method":7}', legacy)).toBe("5");
});

test("an unreadable answer over HTTP is refused and ends its question, but only a question of its own session", async () => {
  await using door = new Door(async (call) =>
    said((await call.ask?.({ method: "roots/list", params: "{}" }, call.controller.signal))?.text ?? ""),
  );
  const headers = await door.session("2025-11-25");
  const other = await door.session("2025-11-25");
  const sent = await door.send(toolCall("echo", {}, 7), { headers });
  const { id, until } = await askedOn(sent);
  const unreadable = { jsonrpc: "2.0", id, result: null };
  expect((await door.post(unreadable, { headers: other })).status).toBe(400);
  expect(door.traffic).toMatchObject({ stray: 1, asked: 1 });
  const refused = await door.post(unreadable, { headers });
  expect([refused.status, pick(refused.json, "error.code")]).toEqual([400, -32600]);
  await until("The client's answer was refused");
});
