import { expect, test } from "bun:test";
import { Door, said } from "../support/front-door.ts";
import { modern, pick } from "../support/wire.ts";

test.each([
  ["an unreadable message", "{"],
  ["a notification", '{"jsonrpc":"2.0","method":"notifications/initialized"}'],
])("%s does not fix the era of a connection", async (_, first) => {
  await using door = new Door((call) => said(call.inbound.era));
  const sent: unknown[] = [];
  const connection = door.connection((message) => void sent.push(message));
  await connection.receive(first);
  await connection.receive(JSON.stringify(modern("tools/call", { name: "echo" }).body));
  expect(pick(sent.at(-1), "result.content.0.text")).toBe("modern");
  connection.close();
});
