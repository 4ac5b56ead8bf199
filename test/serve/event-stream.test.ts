import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { silent } from "../../src/core/log.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import { EventStream } from "../../src/serve/event-stream.ts";
import { Traffic } from "../../src/session/traffic.ts";
import { principal } from "../support/principal.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

const decoder = new TextDecoder();
const who = principal();
const mib = 1024 ** 2;
// Only `caps.result` is used. The limit of one stream is 9 MiB.
const sending = (traffic: Traffic) => ({ current: () => ({ caps: { result: 1024 } }) as Gateway, traffic });

test("FIELD T44: a silent stream sends a keep-alive every 15 seconds, sooner than a proxy's timeout", async () => {
  const traffic = new Traffic();
  const stream = new EventStream(who, sending(traffic), () => {});
  const reader = stream.response.body!.getReader();
  const said: string[] = [];
  for (let n = 0; n < 3; n++) {
    said.push(decoder.decode((await reader.read()).value as Uint8Array)); // the stream yields bytes
    jest.advanceTimersByTime(15_000);
  }
  expect(said).toEqual([":\n\n", ":\n\n", ":\n\n"]);
  stream.close();
  jest.advanceTimersByTime(60_000);
  expect(decoder.decode((await reader.read()).value as Uint8Array)).toBe(":\n\n"); // sent before the close
  expect((await reader.read()).done).toBe(true);
  expect(traffic.streams).toBe(0);
});

test("a reader with too much unread is disconnected, which is logged; until then messages that must arrive are kept", () => {
  const logged: unknown[] = [];
  const traffic = new Traffic({ ...silent, warn: (...line) => void logged.push(line) });
  let closed = 0;
  const stream = new EventStream(who, sending(traffic), () => closed++);
  const large = "x".repeat(mib);
  for (let n = 0; n < 9; n++) stream.write(large, true);
  stream.write(large, false);
  expect([closed, traffic.lost]).toEqual([0, 1]);
  stream.write(large, true);
  stream.write(large, true);
  expect([closed, traffic.streams]).toEqual([1, 0]);
  const facts = { principal: who.id, bytes: expect.any(Number) as unknown };
  // The last argument groups the lines, since callers can cause them as often as they like.
  expect(logged).toEqual([["a connection was closed because its client left too much unread", facts, who.id]]);
});

test("even with a small limits.result, a slow reader of notifications loses some of them, but no result", () => {
  const traffic = new Traffic();
  let closed = 0;
  const stream = new EventStream(who, sending(traffic), () => closed++);
  const notification = "x".repeat(64 * 1024);
  for (let n = 0; n < 64; n++) stream.write(notification, false);
  expect(traffic.lost).toBeGreaterThan(0);
  stream.write("the result", true);
  stream.write("y".repeat(1024 * 1024), true);
  expect([closed, traffic.streams]).toEqual([0, 1]);
  stream.close();
});

test("T27: the streams of one principal share a limit; the stream that holds the most is dropped with its contents", async () => {
  const traffic = new Traffic();
  const closed: number[] = [];
  const streams = Array.from({ length: 9 }, (_, n) => new EventStream(who, sending(traffic), () => closed.push(n)));
  const theirs = new EventStream(principal("key:other"), sending(traffic), () => closed.push(9));
  for (const stream of [...streams, theirs]) stream.write("x".repeat(8 * mib), true);
  expect(closed).toEqual([]);
  streams[3]?.write("y".repeat(mib), true);
  expect([closed, traffic.streams]).toEqual([[3], 9]);
  expect(streams[3]?.response.text()).rejects.toThrow();
  streams[4]?.write("z", true);
  for (const stream of [...streams, theirs]) stream.close();
  expect((await streams[4]?.response.text())?.endsWith("z")).toBe(true);
});

test("T27: an event that was read except for its end counts as a whole, since it is kept as a whole", async () => {
  const traffic = new Traffic();
  const closed: number[] = [];
  for (let n = 0; n < 10; n++) {
    const stream = new EventStream(who, sending(traffic), () => closed.push(n));
    stream.write("x".repeat(8 * mib), true);
    const reader = stream.response.body?.getReader();
    for (let read = 0; n < 9 && read < 7 * mib;) read += (await reader?.read())?.value?.length ?? Infinity;
  }
  expect(closed).toHaveLength(1);
});

test("T42: a reader whose key was revoked gets none of its unread messages, only the last one", async () => {
  const traffic = new Traffic();
  const caller = principal();
  const stream = new EventStream(caller, sending(traffic), () => {});
  for (let n = 0; n < 64; n++) stream.write("x".repeat(16 * 1024), false);
  caller.revoke();
  stream.write("the key was lost", true);
  stream.close();
  const text = await stream.response.text();
  expect([text.length < 256 * 1024, text.endsWith("the key was lost")]).toEqual([true, true]);
});
