import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  differences,
  faults,
  type Fixture,
  judge,
  judgeTwice,
  type Revision,
  type Run,
  runServer,
  startFixture,
  totals,
} from "../support/conformance.ts";
import { otherEra, sameEra } from "../support/conformance-expected.ts";
import { everything, start } from "../support/daemon.ts";

setDefaultTimeout(30_000);

// The protocol's own conformance suite. What the fixture reaches alone is the measure of the gateway in front of it.

const revisions: readonly Revision[] = ["2025-11-25", "2026-07-28"];

/** A fixture that had less would be a weaker measure. */
const checks: Readonly<Record<Revision, number>> = { "2025-11-25": 84, "2026-07-28": 196 };

let fixture: Fixture;
const alone = new Map<Revision, Run>();

beforeAll(async () => {
  fixture = await startFixture();
  await Promise.all(
    revisions.map(async (revision) => {
      const run = await runServer(fixture.url, revision);
      // A busy machine may exceed the times that the suite waits.
      alone.set(revision, faults(run).size > 0 ? await runServer(fixture.url, revision) : run);
    }),
  );
}, 120_000);

afterAll(() => fixture[Symbol.asyncDispose]());

/** Runs the suite against a gateway that has this server as its only one, and names nothing differently. */
async function through(url: string, revision: Revision): Promise<Run> {
  await using daemon = await start({
    auth: { type: "none", roles: ["user"] },
    gateway: { tools: "off" },
    servers: [{ id: "fixture", url, prefix: "none" }],
    policies: [everything()],
  });
  // Awaited here, for the daemon ends with this scope.
  return await runServer(`${daemon.url}/mcp`, revision);
}

const nothing = { unexpected: [], stale: [] };

describe.each(revisions)("conformance, server side, %s", (revision) => {
  const measure = (): Run => alone.get(revision)!;

  test("the fixture alone passes every scenario, scored or not", () => {
    expect([...faults(measure())]).toEqual([]);
    expect(totals(measure())).toEqual({ passed: checks[revision], failed: 0 });
  });

  // Most of each run is waiting.
  test.concurrent("the gateway differs from the fixture in nothing unexpected", async () => {
    const find = async () => differences(measure(), await through(fixture.url, revision));
    expect(await judgeTwice(find, sameEra[revision])).toEqual(nothing);
  }, 240_000);

  test.concurrent("nor does it in front of a server that speaks only the other era", async () => {
    await using other = await startFixture(revision === "2025-11-25" ? "modern" : "legacy");
    const find = async () => differences(measure(), await through(other.url, revision));
    expect(await judgeTwice(find, otherEra[revision])).toEqual(nothing);
  }, 240_000);
});

test("conformance: an expectation covers a scenario or one of its checks, and is stale once nothing is found", () => {
  const found = new Map([
    ["a:one", "1 FAILURE"],
    ["a:two", "1 FAILURE"],
    ["b:one", "1 FAILURE"],
  ]);
  const expected = { a: "for a reason", "b:two": "for another", c: "no longer" };
  expect(judge(found, expected)).toEqual({ unexpected: ["b:one: 1 FAILURE"], stale: ["b:two", "c"] });
});

test("conformance: what is wrong in two runs counts, what is wrong in one alone does not", async () => {
  const [right, wrong] = [new Map<string, string>(), new Map([["a:one", "1 FAILURE"]])];
  const judged = (...runs: (typeof right)[]) => judgeTwice(async () => runs.shift()!, {});
  expect(await judged(wrong, right)).toEqual(nothing);
  expect(await judged(wrong, wrong)).toEqual({ unexpected: ["a:one: 1 FAILURE"], stale: [] });
  expect(await judged(right)).toEqual(nothing);
});
