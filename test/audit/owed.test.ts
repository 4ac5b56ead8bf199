import { expect, test } from "bun:test";
import { StoreFailed } from "../../src/core/store.ts";
import { until } from "../support/until.ts";
import { faultyStore, openBroker, tempState } from "./support.ts";

test("T20: acts that wait to be recorded are bounded; those past the bound are counted", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  await using opened = await openBroker(at, {}, { store: faulty.store });
  faulty.full = new StoreFailed("disk full");
  const act = { type: "key.revoked", actor: "local:0", facts: { key: "k", uid: 0, pid: 1 } } as const;
  await Promise.all(Array.from({ length: 10_003 }, () => opened.broker.recordDone(act)));
  expect(opened.broker.health()).toMatchObject({ owed: 10_000, unrecorded: 3 });
  faulty.full = null;
  await until(() => opened.broker.health().owed === 0 && opened.broker.health().ok, "all of them on record");
});
