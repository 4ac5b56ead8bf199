import { expect, test } from "bun:test";
import { defaultBreaker } from "../../../src/upstream/breaker.ts";
import { downText, Failures } from "../../../src/upstream/instances/failures.ts";
import { stillClock } from "../../support/principal.ts";

const runs = (): boolean => false;

test("the failures of the latest 1024 instances are remembered", () => {
  const failures = new Failures(defaultBreaker, stillClock());
  for (let key = 0; key < 1_024; key++) failures.add(`key-${key}`, null, "it crashed");
  failures.add("key-0", null, "it crashed again");
  failures.add("one more", null, "it crashed");
  expect(failures.down(runs).length).toBe(1_024);
  expect([failures.wait("key-0") > 0, failures.wait("key-1"), failures.wait("key-2") > 0]).toEqual([true, 0, true]);
  expect(failures.count).toBe(1_026);
});

test("a failed instance is reported until it runs again, or as long as failures count", () => {
  const clock = stillClock();
  const failures = new Failures(defaultBreaker, clock);
  failures.add("a", "alice", "it crashed");
  failures.add("b", null, "it crashed too");
  expect(failures.down((key) => key === "a").map(({ reason }) => reason)).toEqual(["it crashed too"]);
  const now = clock.now() / 1_000;
  expect(downText(failures.down(runs), now)).toMatch(/^2 callers' instances are down until \d.*: it crashed/);
  expect(downText(failures.down(runs), now + 10_000)).toMatch(/ down until its next call: it crashed/);
  clock.advance(2 * defaultBreaker.window);
  expect(downText(failures.down(runs), now)).toBeNull();
});

test("T10: for an open circuit, the failure that opened it is reported, not each later one", () => {
  const clock = stillClock();
  const failures = new Failures({ ...defaultBreaker, failures: 2 }, clock);
  const opened = () => failures.add("a", null, "it crashed").opened;
  expect([opened(), opened(), opened()]).toEqual([false, true, false]);
  clock.advance(defaultBreaker.rest * 1.2 + 2 * defaultBreaker.window);
  expect([opened(), opened(), opened()]).toEqual([false, true, false]);
});

test.each([-3, 3])("the time of the next start is reported correctly when the clock is set by %i h", (hours) => {
  const clock = stillClock();
  let set = 0;
  const failures = new Failures(defaultBreaker, { now: () => clock.now() + set, mono: clock.mono });
  failures.add("a", null, "it crashed");
  set = hours * 3_600_000_000;
  const [down] = failures.down(runs);
  expect((down?.until ?? 0) - (clock.now() + set) / 1_000).toBeCloseTo(failures.wait("a"), -1);
  clock.advance(2 * defaultBreaker.window);
  expect(failures.down(runs)).toEqual([]);
});
