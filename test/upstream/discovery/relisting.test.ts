import { expect, spyOn, test } from "bun:test";
import { maxTimerMs } from "../../../src/core/clock.ts";
import type { Terms } from "../../../src/upstream/host.ts";
import { Relisting } from "../../../src/upstream/discovery/relisting.ts";
import { fake } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

/** Records when lists are read, in order with other events; the instance is idle unless `busy`. */
function relisting(log: string[]) {
  const at = { busy: false };
  const terms = {
    options: fake("a", [], { refresh: 40 * 86_400_000 }),
    host: { tuning: { debounce: 5 } },
  } as unknown as Terms;
  const read = (which: readonly string[]): void => void log.push(`read ${which.join(" ")}`);
  return Object.assign(new Relisting(terms, () => at.busy, read), { at });
}
const after = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("changed lists are read soon, and those that change together at once; others are not", async () => {
  const log: string[] = [];
  const lists = relisting(log);
  lists.changed(["tools"]);
  lists.changed(["prompts", "tools"]);
  await until(() => log.length > 0, "a reading");
  lists.changed(["resources"]);
  await until(() => log.length > 1, "another reading");
  expect(log).toEqual(["read tools prompts", "read resources"]);
});

test.each([false, true])(
  "after a long reading, lists are not read again for a multiple of that time (changed in the meantime: %p)",
  async (busy) => {
    const log: string[] = [];
    const lists = relisting(log);
    lists.at.busy = busy;
    if (!busy) lists.took(20);
    lists.changed(["tools"]);
    if (busy) {
      // The change is due before the reading ends.
      await after(20);
      lists.took(20);
      lists.at.busy = false;
    }
    await after(200);
    log.push("ten times as long");
    await until(() => log.length > 1, "a reading");
    expect(log).toEqual(["ten times as long", "read tools"]);
  },
);

test("changes before a stop are forgotten, changes after it are read", async () => {
  const log: string[] = [];
  const lists = relisting(log);
  lists.changed(["tools"]);
  lists.stop();
  lists.changed(["prompts"]);
  await until(() => log.length > 0, "a reading");
  expect(log).toEqual(["read prompts"]);
});

test("lists are read regularly by one timer, however often `begin` is called, and not at all after a pause", () => {
  using made = spyOn(globalThis, "setInterval");
  using ended = spyOn(globalThis, "clearInterval");
  const lists = relisting([]);
  lists.begin();
  lists.begin();
  lists.pause();
  const stopped: unknown[] = ended.mock.calls.flatMap(([timer]) => timer ?? []);
  expect(stopped).toEqual(made.mock.results.map(({ value }) => value));
});

test("an interval longer than a timer allows does not become the minimum", () => {
  using made = spyOn(globalThis, "setInterval");
  const lists = relisting([]);
  lists.begin();
  lists.stop();
  expect(made.mock.calls.map(([, ms]) => ms)).toEqual([maxTimerMs]);
});
