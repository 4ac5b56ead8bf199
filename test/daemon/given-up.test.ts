import { expect, test } from "bun:test";
import { gatherEvidence } from "../../src/audit/evidence.ts";
import { Cancel } from "../../src/core/cancel.ts";
import { silent } from "../../src/core/log.ts";
import { HousekeeperClient } from "../../src/daemon/housekeeper-client.ts";
import { openBroker, runCall, tempState, type TempState } from "../support/audit.ts";

const url = new URL("../../src/daemon/housekeeper.ts", import.meta.url);

function keeperOf({ state }: TempState) {
  const home = { state, main: null };
  const fatal = (reason: string): never => expect.unreachable(reason);
  const keeper = new HousekeeperClient({ url, home, chain: "main", usage: false, log: silent, fatal });
  return Object.assign(keeper, { [Symbol.asyncDispose]: () => keeper.close() });
}

test("R9 housekeeper: a canceled verification stops without a verdict on the chain, and the next one is complete", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  // Enough records for several pages of a verification.
  for (let i = 0; i < 10; i += 1) await Promise.all(Array.from({ length: 400 }, () => runCall(opened.broker)));
  await using keeper = keeperOf(at);
  const { optionsFor } = await gatherEvidence({ dir: null, sources: [] });
  const options = await optionsFor("main");
  const verify = (signal: Cancel) => keeper.verify(options, signal);
  const left = new Cancel();
  const begun = verify(left);
  left.abort();
  expect(await begun).toMatchObject({ exit: 2, bad: { kind: "unreadable", detail: "The request was canceled." } });
  expect(await verify(new Cancel())).toMatchObject({ exit: 3, bad: null });
});
