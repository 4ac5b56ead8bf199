import { expect, test } from "bun:test";
import { createStdinQueue } from "../../../src/upstream/process/stdin-queue.ts";

/** A pipe that accepts one line and then blocks until it is released. */
function pipe() {
  const written: string[] = [];
  let open = Promise.withResolvers<number>();
  let free = 1;
  const sink = {
    write: (text: string) => (written.push(text), free-- > 0 ? text.length : open.promise),
    flush: () => 0,
  };
  const release = async (lines: number): Promise<void> => {
    const before = open;
    open = Promise.withResolvers();
    free = lines;
    before.resolve(0);
    await Bun.sleep(0);
  };
  const fail = (): void => open.reject(new Error("EPIPE"));
  return { sink, written, release, fail };
}

test("lines wait in order while the pipe is full", async () => {
  const { sink, written, release } = pipe();
  const queue = createStdinQueue(sink);
  for (const line of ["a", "b", "c", "d"]) expect(queue.write(line, line)).toBe(true);
  expect(written).toEqual(["a", "b"]);
  await release(5);
  expect(written).toEqual(["a", "b", "c", "d"]);
});

test("lines that a pipe does not accept stay in the queue", async () => {
  const { sink, written, release } = pipe();
  const queue = createStdinQueue(sink);
  for (const line of ["a", "b", "c", "d", "e"]) queue.write(line, line);
  await release(1);
  expect(written).toEqual(["a", "b", "c", "d"]);
  expect([queue.take("d"), queue.take("e")]).toEqual([false, true]);
});

test("T16: a line beyond the limit is refused, and a line that is taken back makes room", () => {
  const { sink, written } = pipe();
  const queue = createStdinQueue(sink, 10);
  queue.write("1", "x");
  queue.write("2", "x");
  expect(queue.write("3", "üüüü")).toBe(true);
  expect(queue.write("4", "xxx")).toBe(false);
  expect(queue.take("1")).toBe(false);
  expect(queue.take("3")).toBe(true);
  expect(queue.write("4", "xxx")).toBe(true);
  expect(written).toEqual(["x", "x"]);
});

test("a broken pipe accepts nothing more and does not throw", async () => {
  const { sink, written, fail } = pipe();
  const queue = createStdinQueue(sink);
  queue.write("1", "a");
  queue.write("2", "b");
  fail();
  await Bun.sleep(0);
  expect(queue.write("3", "c")).toBe(true);
  expect(written).toEqual(["a", "b"]);
});
