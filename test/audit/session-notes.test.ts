import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { reasonOf } from "../support/failure.ts";
import { callOf, failed, faultyStore, openBroker, recordsOf, tempState } from "../support/audit.ts";

test("S25: more than 60 sessions of one principal a minute coalesce, opened and closed apart", async () => {
  using at = tempState();
  const opened = await openBroker(at);
  const note = (type: "session.open" | "session.close", key: string) => {
    const of = { actor: `key:${key}`, key, consumer: "c" };
    const [opening, closing] = [{ client: null, revision: "2025-11-25" }, { reason: "idle" }] as const;
    return type === "session.open"
      ? opened.broker.recordEvent({ type, ...of, facts: { session: "s", ...opening } })
      : opened.broker.recordEvent({ type, ...of, facts: { session: "s", ...closing } });
  };
  for (let i = 0; i < 100; i += 1) await note("session.open", "noisy");
  for (let i = 0; i < 70; i += 1) await note("session.close", "noisy");
  await note("session.open", "calm");
  await opened.close();
  const all = recordsOf(at);
  // Named as in the records of its calls.
  const noted = all.filter(({ caller, subj }) => caller === "noisy" && subj === "key:noisy");
  const count = (type: string) => noted.filter((one) => one.type === type).length;
  expect([count("session.open"), count("session.close")]).toEqual([61, 61]);
  expect(noted.every(({ consumer }) => consumer === "c")).toBe(true);
  expect(noted.map(({ facts }) => facts?.["count"]).filter(Boolean)).toEqual([40, 10]);
  expect(noted.flatMap(({ facts }) => Object.keys(facts ?? {})).slice(-3)).toEqual(["count", "first", "last"]);
  expect(all.filter(({ caller }) => caller === "calm")).toHaveLength(1);
});

test("P5: a session that would only be counted is refused too while the log takes no records", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  await using opened = await openBroker(at, {}, { store: faulty.store, tick: 60_000 });
  const facts = { session: "s", client: null, revision: "2025-11-25" } as const;
  const open = () => opened.broker.recordEvent({ type: "session.open", actor: "key:a", facts });
  for (let i = 0; i < 61; i++) await open();
  expect(opened.broker.health().records).toBe(60);
  faulty.full = new StoreFailed("disk full");
  expect(await reasonOf(opened.broker.begin(callOf()))).toMatchObject({ code: "audit-unavailable" });
  expect(await reasonOf(open())).toMatchObject({ code: "audit-unavailable" });
  faulty.full = null;
});

test("refusals that were only counted are on record when the log is closed, though their minute is not over", async () => {
  using at = tempState();
  const opened = await openBroker(at);
  for (let i = 0; i < 67; i++) await opened.broker.end(failed(callOf(), new Failure("denied", "no")));
  await opened.close();
  const counts = recordsOf(at).map(({ count }) => count);
  expect(counts.filter((count) => count !== undefined)).toEqual([7]);
});
