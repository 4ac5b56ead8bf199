import { expect, test } from "bun:test";
import { Order } from "../../src/serve/order.ts";

/** The messages that left, in order; one that must not be dropped ends in `!`. */
function client() {
  const left: string[] = [];
  const order = new Order((message, must) => void left.push(`${message}${must ? "!" : ""}`));
  return { left, order, a: order.turn(), b: order.turn() };
}

test("what is said after an answer waits for it, and so does an answer that came later", () => {
  const { left, order, a, b } = client();
  order.say("before", false);
  a.answered();
  order.say("after a", false);
  b.answered();
  order.say("after b", true);
  b.end("b");
  expect(left).toEqual(["before"]);
  a.end("a");
  expect(left).toEqual(["before", "a!", "after a", "b!", "after b!"]);
  order.say("later", false);
  expect(left.at(-1)).toBe("later");
});

test("what its server did not answer waits for nothing, and holds nothing up", () => {
  const { left, order, a, b } = client();
  a.answered();
  b.end("b");
  order.say("after a", false);
  a.end(null);
  a.answered();
  order.say("later", false);
  expect(left).toEqual(["b!", "after a", "later"]);
});

test.each([
  ["messages", 300, 1],
  ["characters", 3, 512 * 1024],
])("T12: so many %s may wait; beyond that all is sent at once, and the answer when it comes", (_, count, length) => {
  const { left, order, a } = client();
  a.answered();
  for (let n = 0; n < count; n++) order.say("x".repeat(length), false);
  expect(left.length).toBeGreaterThan(count / 2);
  a.end("a");
  expect(left.length).toBe(count + 1);
  expect(left).toContain("a!");
});
