import { expect, jest, test } from "bun:test";
import { harness, type Options, send } from "./support.ts";

test("a list waits ten seconds for what only some clients are shown, then answers without it", async () => {
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

test("R112 whoever is given a list is noted as its reader, who is told of a change back", async () => {
  const { gw, inForce, notifier } = harness();
  const given: string[] = [];
  inForce.notifier = { ...notifier, served: (_to, list) => void given.push(list) };
  for (const list of ["tools", "prompts", "resources", "resources/templates"]) await send(gw, `${list}/list`);
  expect(given).toEqual(["tools", "prompts", "resources", "resources"]);
});
