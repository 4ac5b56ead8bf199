import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { gatherEvidence } from "../../src/audit/evidence.ts";
import { exportLine, verifyLines } from "../../src/audit/export.ts";
import type { ChainReport } from "../../src/audit/verify.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { closedChain, type Outside } from "../support/closed-chain.ts";

setDefaultTimeout(30_000);

let original: Outside;

beforeAll(async () => {
  original = await closedChain();
});
afterAll(() => original[Symbol.dispose]());

function exported(payloads = false): string[] {
  using reader = openReader({ state: original.state, main: null });
  const rows = reader.page("main", 1, 1000);
  return rows.map((row) => exportLine("main", row, payloads ? reader.payloads("main", row.seq) : null));
}

async function verifyExport(lines: string[]): Promise<ChainReport> {
  const { optionsFor } = await gatherEvidence({ dir: original.dir, sources: [] });
  const [report] = await verifyLines(lines, optionsFor);
  if (!report) throw new Error("no report");
  return report;
}

test("export: lines are JSON objects that verify without the database", async () => {
  for (const payloads of [false, true]) {
    const lines = exported(payloads);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ chain: "main", seq: 1, rec: { type: "call.begin" } });
    expect(lines.some((line) => line.includes('\\"n\\":0'))).toBe(payloads);
    expect(await verifyExport(lines)).toMatchObject({ exit: 0, records: 22 });
  }
});

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const lineEdits: Record<string, [(lines: string[]) => string[], object]> = {
  "an edited line": [
    (all) => all.with(6, (all[6] ?? "").replace("agent", "other")),
    { exit: 1, bad: { seq: 7, kind: "changed" } },
  ],
  "a line left out": [(all) => all.toSpliced(6, 1), { exit: 1, bad: { seq: 7, kind: "missing" } }],
  "the end left out": [(all) => all.slice(0, 15), { exit: 1, bad: { seq: 16, kind: "truncated" } }],
  "an edited payload": [
    (all) => all.with(0, (all[0] ?? "").replace('\\"n\\":0', '\\"n\\":1')),
    { exit: 1, bad: { seq: 1, kind: "payload" } },
  ],
  "the beginning left out": [(all) => all.slice(5), { exit: 3, bad: null, first: 6, records: 17, checkpoint: null }],
  "the beginning and a line left out": [
    (all) => all.slice(5).toSpliced(3, 1),
    { exit: 1, bad: { seq: 9, kind: "missing" } },
  ],
  "a payload added to the true one": [
    (all) =>
      all.with(
        0,
        (all[0] ?? "").replace(/"payloads":\[(.*?)\]/, '"payloads":[$1,{"body":"{}","part":"args","salt":""}]'),
      ),
    { exit: 1, bad: { seq: 1, kind: "payload" } },
  ],
  "a duplicate member, which readers that take the first one would see differently": [
    (all) => all.with(6, (all[6] ?? "").replace('"rec":{', '"rec":{"tool":"other",')),
    { exit: 2, bad: { kind: "unreadable" } },
  ],
  "text that is not a record": [
    (all) => all.toSpliced(4, 0, "hello"),
    { exit: 2, bad: { kind: "unreadable", detail: "line 5 is not an exported record" } },
  ],
  "another text for the same hash": [
    // Two bits of the last character are unused.
    (all) =>
      all.with(
        6,
        (all[6] ?? "").replace(/(?<="leaf":".{42})./, (last) => digits[digits.indexOf(last) + 1] ?? ""),
      ),
    { exit: 2, bad: { kind: "unreadable", detail: "line 7 is not an exported record" } },
  ],
  "a number as text": [
    (all) => all.with(6, (all[6] ?? "").replace('"seq":7,"rec"', '"seq":"7","rec"')),
    { exit: 2, bad: { kind: "unreadable", detail: "line 7 is not an exported record" } },
  ],
  "a chain in an array": [
    (all) => all.with(6, (all[6] ?? "").replace('{"chain":"main"', '{"chain":["main"]')),
    { exit: 2, bad: { kind: "unreadable", detail: "line 7 is not an exported record" } },
  ],
  "a payload of another type": [
    (all) => all.with(0, (all[0] ?? "").replace(/"body":".*?","part"/, '"body":0,"part"')),
    { exit: 2, bad: { kind: "unreadable", detail: "line 1 is not an exported record" } },
  ],
  "blank lines": [(all) => ["", ...all, "  ", ""], { exit: 0, records: 22 }],
  "keys in another order": [(all) => all.map((line) => JSON.stringify(reorder(JSON.parse(line)))), { exit: 0 }],
};
function reorder(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([key, item]) => [key, key === "rec" ? Object.fromEntries(Object.entries(item ?? {}).toReversed()) : item]),
  );
}
for (const [name, [change, wanted]] of Object.entries(lineEdits)) {
  test(`export: ${name}`, async () => expect(await verifyExport(change(exported(true)))).toMatchObject(wanted));
}

test("A13 export: if some payloads were left out, the report says which records lack them", async () => {
  const lines = exported(true);
  const stripped = lines.map((line, at) => (at === 2 || at === 3 ? line.replace(/,"payloads":.*/, "}") : line));
  expect((await verifyExport(stripped)).notes).toEqual([
    "records whose payloads are missing from the export, although it has the payloads of others: 2, the first is record 3",
  ]);
  for (const payloads of [true, false]) expect((await verifyExport(exported(payloads))).notes).toEqual([]);
});

test("A01–A09 verify: any single mutation of an exported chain is detected", async () => {
  const lines = exported();
  const index = fc.integer({ min: 0, max: lines.length - 1 });
  const mutation = fc.oneof(
    fc.record({ kind: fc.constant("flip" as const), index, at: fc.nat(), by: fc.integer({ min: 1, max: 9 }) }),
    fc.record({ kind: fc.constant("delete" as const), index }),
    fc.record({ kind: fc.constant("double" as const), index }),
    fc.record({ kind: fc.constant("swap" as const), index, other: index }),
    fc.record({ kind: fc.constant("move" as const), index, other: index }),
  );
  const mutate = (all: string[], m: typeof mutation extends fc.Arbitrary<infer M> ? M : never): string[] => {
    const line = all[m.index] ?? "";
    if (m.kind === "delete") return all.toSpliced(m.index, 1);
    if (m.kind === "double") return all.toSpliced(m.index, 0, line);
    if (m.kind === "swap") return all.with(m.index, all[m.other] ?? "").with(m.other, line);
    if (m.kind === "move") return all.toSpliced(m.index, 1).toSpliced(m.other, 0, line);
    const digits = [...line.matchAll(/\d/g)];
    const { index: at, 0: digit } = digits[m.at % digits.length] ?? { index: 0, 0: "0" };
    return all.with(m.index, `${line.slice(0, at)}${(Number(digit) + m.by) % 10}${line.slice(at + 1)}`);
  };
  await fc.assert(
    fc.asyncProperty(mutation, async (m) => {
      const changed = mutate(lines, m);
      const same = changed.length === lines.length && changed.every((line, i) => line === lines[i]);
      const { exit } = await verifyExport(changed);
      // Without its first lines, it is like an export that begins later: a part of the chain, which is never proven.
      const isPart = m.kind === "delete" && m.index === 0;
      expect(exit).toBe(same ? 0 : isPart ? 3 : exit === 2 ? 2 : 1);
    }),
    { numRuns: 500 },
  );
});
