import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  differences,
  faults,
  type Fixture,
  judge,
  judgeWithRetry,
  type Revision,
  type Run,
  runServer,
  startFixture,
  totals,
} from "../support/conformance.ts";
import { otherEra, sameEra } from "../support/conformance-expected.ts";
import { everything, start } from "../support/daemon.ts";

setDefaultTimeout(30_000);

// The protocol's own conformance suite. The gateway is measured against what the fixture achieves alone.

const revisions: readonly Revision[] = ["2025-11-25", "2026-07-28"];

/** The number of checks per revision; a fixture with fewer would be a weaker measure. */
const checks: Readonly<Record<Revision, number>> = { "2025-11-25": 84, "2026-07-28": 196 };

let fixture: Fixture;
const alone = new Map<Revision, Run>();

beforeAll(async () => {
  fixture = await startFixture();
  await Promise.all(
    revisions.map(async (revision) => {
      const run = await runServer(fixture.url, revision);
      // A busy machine may exceed the suite's fixed waiting times.
      alone.set(revision, faults(run).size > 0 ? await runServer(fixture.url, revision) : run);
    }),
  );
}, 120_000);

afterAll(() => fixture[Symbol.asyncDispose]());

/** Runs the suite against a gateway that has this server as its only one, and changes no names. */
async function through(url: string, revision: Revision): Promise<Run> {
  await using daemon = await start({
    auth: { type: "none", roles: ["user"] },
    gateway: { tools: "off" },
    servers: [{ id: "fixture", url, prefix: "none" }],
    policies: [everything()],
  });
  // Awaited here, because the daemon ends with this scope.
  return await runServer(`${daemon.url}/mcp`, revision);
}

const nothing = { unexpected: [], stale: [] };

describe.each(revisions)("conformance, server side, %s", (revision) => {
  const measure = (): Run => alone.get(revision)!;

  test("the fixture alone passes every scenario, scored or not", () => {
    expect([...faults(measure())]).toEqual([]);
    expect(totals(measure())).toEqual({ passed: checks[revision], failed: 0 });
  });

  // Each run is mostly waiting.
  test.concurrent("the gateway does not differ from the fixture unexpectedly", async () => {
    const find = async () => differences(measure(), await through(fixture.url, revision));
    expect(await judgeWithRetry(find, sameEra[revision])).toEqual(nothing);
  }, 240_000);

  test.concurrent("the gateway does not differ unexpectedly in front of a server that speaks only the other era", async () => {
    await using other = await startFixture(revision === "2025-11-25" ? "modern" : "legacy");
    const find = async () => differences(measure(), await through(other.url, revision));
    expect(await judgeWithRetry(find, otherEra[revision])).toEqual(nothing);
  }, 240_000);
});

test("conformance: an expectation covers a scenario or one of its checks, and is stale once there is no finding for it", () => {
  const found = new Map([
    ["a:one", "1 FAILURE"],
    ["a:two", "1 FAILURE"],
    ["b:one", "1 FAILURE"],
  ]);
  const expected = { a: "for a reason", "b:two": "for another", c: "no longer" };
  expect(judge(found, expected)).toEqual({ unexpected: ["b:one: 1 FAILURE"], stale: ["b:two", "c"] });
});

test("conformance: a failure in two runs counts, a failure in only one does not", async () => {
  const [right, wrong] = [new Map<string, string>(), new Map([["a:one", "1 FAILURE"]])];
  const judged = (...runs: (typeof right)[]) => judgeWithRetry(async () => runs.shift()!, {});
  expect(await judged(wrong, right)).toEqual(nothing);
  expect(await judged(wrong, wrong)).toEqual({ unexpected: ["a:one: 1 FAILURE"], stale: [] });
  expect(await judged(right)).toEqual(nothing);
});
