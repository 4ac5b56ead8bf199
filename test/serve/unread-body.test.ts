import { expect, test } from "bun:test";
import type { Socket } from "node:net";
import type { Gateway } from "../../src/gateway/gateway.ts";
import { portion } from "../../src/serve/queue-limits.ts";
import { bodyOf, UnreadBody } from "../../src/serve/unread-body.ts";
import { Traffic } from "../../src/session/traffic.ts";
import { Door, said } from "../support/front-door.ts";
import { principal } from "../support/principal.ts";
import { dial, postText } from "../support/raw-http.ts";
import { until } from "../support/until.ts";
import { initialize, toolCall } from "../support/wire.ts";

const mib = 1024 ** 2;

/** Sends a message on its own connection, and does not read the response. */
function ask(door: Door, message: unknown, who = "alice"): Socket {
  const body = JSON.stringify(message);
  const text = postText(["Accept: application/json", `Content-Length: ${body.length}`, "Connection: close"], body);
  const client = dial(door);
  client.pause();
  client.write(text.replace("alice", who));
  return client;
}

async function bytesOf(client: Socket): Promise<number> {
  let length = 0;
  client.on("data", (chunk) => void (length += chunk.length)).resume();
  await new Promise((resolve) => client.once("close", resolve));
  return length;
}

const answered = (door: Door, count: number): Promise<unknown> =>
  until(() => door.ended.length === count, "the answers to be sent");

test("R60: a long answer arrives completely, alone and in a batch, and its connection stays usable", async () => {
  const text = "é".repeat(3 * mib);
  await using door = new Door(() => said(text));
  const call = toolCall("echo", {});
  const one = await door.post(call);
  expect([one.status, one.text]).toEqual([200, expect.stringContaining(text)]);
  const headers = { "mcp-protocol-version": "2025-03-26" };
  const two = await door.post([call, toolCall("echo", {}, 2)], { headers });
  expect((JSON.parse(two.text) as unknown[]).length).toBe(2);
  expect((await door.post(initialize("2025-06-18"))).status).toBe(200);
});

test("T27: answers that one caller's clients do not read are dropped when they hold too much together", async () => {
  await using door = new Door(() => said("x".repeat(15 * mib)));
  Object.assign(door.gw, { caps: { ...door.gw.caps, result: 1 } });
  const theirs = ask(door, toolCall("echo", {}), "bob");
  await answered(door, 1);
  const mine: Socket[] = [];
  for (let count = 2; count < 8; count++) {
    mine.push(ask(door, toolCall("echo", {})));
    await answered(door, count);
  }
  const read = await Promise.all(mine.map(bytesOf));
  // Together they may hold 72 MiB.
  expect(read.filter((length) => length > 15 * mib)).toHaveLength(4);
  expect(await bytesOf(theirs)).toBeGreaterThan(15 * mib);
});

test("T42: a client whose key was revoked gets none of the unread part of an answer", async () => {
  await using door = new Door(() => said("x".repeat(15 * mib)));
  const client = ask(door, toolCall("echo", {}));
  await answered(door, 1);
  door.who("alice").revoke();
  expect(await bytesOf(client)).toBeLessThan(8 * mib);
});

test("T42: a message that was cut off in the middle when the key was revoked ends its body with an error", async () => {
  const who = principal();
  const body = new UnreadBody(who, new Traffic());
  body.write(new Uint8Array(3 * portion));
  const reader = body.stream.getReader();
  expect((await reader.read()).value).toHaveLength(portion);
  who.revoke();
  body.end();
  const rest = (async () => {
    while (!(await reader.read()).done);
  })();
  expect(rest).rejects.toThrow();
  await rest.catch(() => {});
});

test("T27: an answer that is too long by itself is dropped at once, and no longer counts", async () => {
  const traffic = new Traffic();
  const who = principal();
  const sending = { current: () => ({ caps: { result: 1 } }) as Gateway, traffic }; // only `caps.result` is used
  const [short, long] = [300, 73 * 1024].map((kib) => bodyOf("x".repeat(kib * 1024), who, sending));
  expect(new Response(long).text()).rejects.toThrow();
  expect(await new Response(short).text()).toHaveLength(300 * 1024);
  expect(bodyOf("x".repeat(256 * 1024), who, sending)).toBeString();
});
