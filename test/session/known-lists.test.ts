import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { noCapabilities } from "../../src/core/inbound.ts";
import { allLists, Notifier } from "../../src/session/notifier.ts";
import { loopback } from "../support/call.ts";
import { partyOf } from "../support/catalog.ts";
import { principal } from "../support/principal.ts";
import { clientSession } from "../support/session.ts";

// Sessions that read lists while they could not be notified of changes.

/** One session, and lists whose fingerprints are set by the test. */
function fixture() {
  const prints = { tools: "1", prompts: "1", resources: "1" };
  const shown = (_: unknown, list: keyof typeof prints): string => prints[list];
  const notifier = new Notifier(() => ({ shown, servers: () => new Set(), hasScopeFor: () => true }));
  const session = clientSession("a1");
  const reader = { ...partyOf(principal(session.owner)), session };
  const told: string[] = [];
  const state = { away: false };
  const join = () =>
    notifier.join({
      who: reader.who,
      source: loopback,
      scope: null,
      capabilities: noCapabilities,
      lists: allLists,
      send: (method) => void told.push(method),
      session,
      here: () => !state.away,
    });
  const change = (now: Partial<typeof prints>): void => {
    Object.assign(prints, now);
    notifier.changed();
  };
  const toldOf = (): string[] => {
    jest.advanceTimersByTime(300);
    return told.splice(0);
  };
  return { notifier, reader, join, change, state, toldOf };
}

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

test("R112: a session that reads a list before it listens is notified of changes since then, and of nothing else", () => {
  const { notifier, reader, join, change, toldOf } = fixture();
  for (const list of ["tools", "prompts"] as const) notifier.served(reader, list);
  change({ tools: "2", resources: "2" });
  expect(toldOf()).toEqual([]);
  join();
  expect(toldOf()).toEqual(["notifications/tools/list_changed"]);
});

test.each(["before", "after"])(
  "a session is notified of a reverted change if it was cut off %s it read the list in between",
  (when) => {
    const { notifier, reader, join, change, state, toldOf } = fixture();
    const leave = join();
    state.away = when === "before";
    change({ tools: "2" });
    notifier.served(reader, "tools");
    state.away = true;
    expect(toldOf()).toEqual([]);
    change({ tools: "1" });
    expect(toldOf()).toEqual([]);
    state.away = false;
    leave();
    join();
    expect(toldOf()).toEqual(["notifications/tools/list_changed"]);
    notifier.served(reader, "tools");
    leave();
    join();
    expect(toldOf()).toEqual([]);
  },
);
