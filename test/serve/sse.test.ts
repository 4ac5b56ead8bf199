import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { EventStream } from "../../src/serve/sse.ts";
import { Traffic } from "../../src/session/traffic.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

const decoder = new TextDecoder();

test("T44: a silent stream says something every 15 seconds, which no timeout on its way outruns", async () => {
  const traffic = new Traffic();
  const stream = new EventStream(traffic, 8 * 1024 ** 2);
  const reader = stream.response.body!.getReader();
  const said: string[] = [];
  for (let n = 0; n < 3; n++) {
    said.push(decoder.decode((await reader.read()).value as Uint8Array)); // the stream is made of bytes
    jest.advanceTimersByTime(15_000);
  }
  expect(said).toEqual([":\n\n", ":\n\n", ":\n\n"]);
  stream.close();
  jest.advanceTimersByTime(60_000);
  expect(decoder.decode((await reader.read()).value as Uint8Array)).toBe(":\n\n"); // said before it was closed
  expect((await reader.read()).done).toBe(true);
  expect(traffic.streams).toBe(0);
});

test("a reader who owes more than is allowed counts as gone; until then what must arrive is kept", () => {
  const traffic = new Traffic();
  let closed = 0;
  const stream = new EventStream(traffic, 8 * 1024 ** 2, () => closed++);
  const large = "x".repeat(1024 * 1024);
  for (let n = 0; n < 8; n++) stream.write(large, true);
  stream.write(large, false);
  expect([closed, traffic.lost]).toEqual([0, 1]);
  stream.write(large, true);
  stream.write(large, true);
  expect([closed, traffic.streams]).toEqual([1, 0]);
});
