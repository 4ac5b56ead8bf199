import { expect, jest, test } from "bun:test";
import { harness, type Options, send } from "./support.ts";

test("a list waits ten seconds for tools shown only to some clients, then answers without them", async () => {
  jest.useFakeTimers();
  try {
    const asked = Promise.withResolvers<void>();
    const learnTools: Options["learnTools"] = () => (asked.resolve(), new Promise(() => {}));
    const { gw } = harness({ servers: { crm: {} }, learnTools });
    const listing = send(gw, "tools/list", {}, { capabilities: { roots: {} } });
    await asked.promise;
    jest.advanceTimersByTime(10_000 - 1);
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(1);
    expect((await listing).call.failure).toBeNull();
  } finally {
    jest.useRealTimers();
  }
});

test("R112 the reader of a list is remembered, so that it can be notified of a change", async () => {
  const { gw, inForce, notifier } = harness();
  const given: string[] = [];
  inForce.notifier = { ...notifier, served: (_to, list) => void given.push(list) };
  for (const list of ["tools", "prompts", "resources", "resources/templates"]) await send(gw, `${list}/list`);
  expect(given).toEqual(["tools", "prompts", "resources", "resources"]);
});
