import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { commitmentTo, genesis, hashText, leafOf } from "../../src/audit/chain.ts";
import { originOf } from "../../src/audit/checkpoint.ts";
import { gatherEvidence } from "../../src/audit/evidence.ts";
import { createFrontier } from "../../src/audit/merkle.ts";
import { readHead } from "../../src/audit/outside.ts";
import { createEncoder } from "../../src/audit/record.ts";
import { payloadFault, Verifier, verifyChain } from "../../src/audit/verify.ts";
import { Cancel } from "../../src/core/cancel.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { reasonOf } from "../support/failure.ts";
import { outsideOf, tempState, verifyAt, note, openLog } from "../support/audit.ts";

// What an attacker may write who can change the whole chain and all of its hashes, but no checkpoint.

const publicKey = new Uint8Array(32).fill(7);
const first = hashText(genesis("main", publicKey));

/** No remarks on the evidence as a whole. */
const appraisal = { onlyGiven: false, foreign: null, doubts: [], notes: [] };

/** A record whose text states this position; its hash and its link are right. */
function row(seq: number, prev: string, says: { seq?: number; chain?: string } = {}) {
  const encoder = createEncoder({ chain: says.chain ?? "main", boot: "b", node: "n", ver: "1" });
  const rec = encoder.encode({ type: "call.end", at: 0, mono: 0 }, says.seq ?? seq, prev).toString("utf8", 1);
  return { seq, rec, leaf: leafOf(rec) };
}

function report(...rows: ReturnType<typeof row>[]) {
  const chain = "main";
  const verifier = new Verifier({ chain, checkpoints: [], appraisal, publicKey, head: null });
  for (const one of rows) if (!verifier.push(one)) break;
  return verifier.report();
}

test("A01: a record must be at the position and in the chain that its own text states", () => {
  const one = row(1, first);
  const after = hashText(one.leaf);
  expect(report(one, row(2, after))).toMatchObject({ exit: 3, bad: null, records: 2 });
  expect(report(one, row(2, after, { seq: 5 })).bad).toMatchObject({ kind: "misplaced", seq: 2 });
  expect(report(one, row(2, after, { chain: "serve-1" })).bad).toMatchObject({ kind: "foreign", seq: 2 });
  const elsewhere = hashText(
    genesis(
      "main",
      publicKey.map((byte) => byte + 1),
    ),
  );
  for (const prev of [elsewhere, after]) {
    const detail = expect.stringContaining("not the first record of the chain with this name and public key");
    expect(report(row(1, prev)).bad).toMatchObject({ kind: "unlinked", seq: 1, detail });
  }
  for (const seq of [0, -3]) expect(report(row(seq, first), one).bad).toMatchObject({ kind: "misplaced", seq: null });
});

test("A01: of several faults, the first one is reported", () => {
  const verifier = new Verifier({ chain: "main", checkpoints: [], appraisal, publicKey, head: null });
  verifier.push(row(1, first, { seq: 5 }));
  verifier.fail({ seq: null, kind: "damaged", detail: "an index" });
  expect(verifier.report().bad).toMatchObject({ kind: "misplaced", seq: 1 });
});

test("A01: damaged or unreadable evidence is not treated as missing", async () => {
  using at = tempState();
  const file = join(at.root, "main.head");
  expect(await readHead(at.root, "main")).toBeNull();
  for (const text of ["", "{", "7", '{"seq":1}', '{"leaf":"x"}', '{"seq":"1","leaf":"x"}']) {
    writeFileSync(file, text);
    expect(String(await reasonOf(readHead(at.root, "main")))).toContain("damaged");
  }
  writeFileSync(file, '{"seq":1,"leaf":"x"}');
  expect(await readHead(at.root, "main")).toEqual({ chain: "main", seq: 1, leaf: "x" });
  rmSync(file);
  mkdirSync(file);
  expect(String(await reasonOf(readHead(at.root, "main")))).toContain("is not a regular file");
});

test("A08, A10: a missing end is detected by a checkpoint alone, and by a head note alone; so is another history", () => {
  const chain = "main";
  const origin = originOf("i", chain);
  const one = row(1, first);
  const two = row(2, hashText(one.leaf));
  const found = { origin, root: one.leaf, at: 0, signed: true, source: "f", sameHost: true, given: false };
  const bad = (size: number | null, head: { seq: number; leaf: string } | null) => {
    const checkpoints = size === null ? [] : [{ ...found, size }];
    const verifier = new Verifier({ chain, checkpoints, appraisal, publicKey, head: head && { chain, ...head } });
    for (const each of [one, two]) if (!verifier.push(each)) break;
    return verifier.report().bad?.kind ?? null;
  };
  expect([bad(1, null), bad(3, null), bad(2, null)]).toEqual([null, "truncated", "rewritten"]);
  const [leaf, other] = [hashText(two.leaf), hashText(one.leaf)];
  expect([bad(null, { seq: 2, leaf }), bad(null, { seq: 3, leaf })]).toEqual([null, "truncated"]);
  expect(bad(null, { seq: 2, leaf: other })).toBe("rewritten");
});

test("A03, A08: of checkpoints of one size, the one on another host is named, and one of another history contradicts", () => {
  const chain = "main";
  const origin = originOf("i", chain);
  const one = row(1, first);
  const two = row(2, hashText(one.leaf));
  const tree = createFrontier();
  const root = [one, two].map(({ leaf }) => (tree.append(leaf), tree.root()));
  const signed = (size: number, source: string, of = root[size - 1] ?? new Uint8Array()) => {
    const checkpoint = { origin, size, root: of, at: 0, signed: true, source, given: false };
    return { ...checkpoint, sameHost: source !== "far" };
  };
  const verified = (...checkpoints: ReturnType<typeof signed>[]) => {
    const verifier = new Verifier({ chain, checkpoints, appraisal, publicKey, head: null });
    for (const each of [one, two]) if (!verifier.push(each)) break;
    return verifier.report();
  };
  for (const order of [
    ["near", "far"],
    ["far", "near"],
  ]) {
    expect(verified(...order.map((source) => signed(2, source))).checkpoint).toMatchObject({ source: "far" });
  }
  // A checkpoint signed before the first record says nothing about records.
  const nothing = signed(0, "far", createFrontier().root());
  expect(verified(nothing, signed(2, "near"))).toMatchObject({ bad: null, checkpoint: { source: "near" } });
  const other = signed(2, "other", one.leaf);
  const between = "a record from 2 to 2 differs from what the checkpoint in other signed";
  for (const checkpoints of [[other], [signed(2, "near"), other], [other, signed(2, "near")]]) {
    expect(verified(signed(1, "near"), ...checkpoints).bad).toEqual({ seq: 2, kind: "rewritten", detail: between });
  }
});

test("A12, A13: a record has exactly the payload that it commits to", () => {
  const salt = new Uint8Array(32).fill(1);
  const payload = { seq: 1, part: "args", salt, body: "{}" } as const;
  const record = (facts: object): string => JSON.stringify({ type: "call.begin", seq: 1, ...facts });
  const ad = commitmentTo(salt, "{}");
  const short = new Uint8Array(31).fill(1);
  const faults = [
    payloadFault(record({ ad }), [payload]),
    payloadFault(record({ ad, pay: "digest" }), [{ ...payload, body: "" }]),
    payloadFault(record({ ad, pay: "digest" }), [payload]),
    payloadFault(record({ ad }), [{ ...payload, body: "" }]),
    payloadFault(record({ ad }), [{ ...payload, part: "result" }]),
    payloadFault(record({ ad }), [payload, { ...payload, part: "result" }]),
    payloadFault(record({ ad: commitmentTo(short, "{}") }), [{ ...payload, salt: short }]),
    payloadFault(record({}), [payload]),
    payloadFault(record({ ad }), []),
  ];
  expect(faults).toEqual([
    null,
    null,
    "its args are not what was recorded",
    "its args are not what was recorded",
    "its args are not what was recorded",
    "it has a second payload",
    "its args are not what was recorded",
    "it has a payload but no commitment",
    "its args are gone",
  ]);
});

test("A01: all of a long chain is checked, including records before its first one, and SQLite's integrity check", async () => {
  await using opened = await openLog({ payloads: "none" });
  await Promise.all(Array.from({ length: 2_100 }, () => opened.broker.recordEvent(note)));
  await opened.close();
  const dir = outsideOf(opened);
  const verified = async () => (await verifyAt({ ...opened, dir })).bad;
  const change = (sql: string): void => {
    using db = new Database(opened.db());
    db.run(sql);
  };
  expect(await verified()).toBeNull();
  const reader = { ...openReader({ state: opened.state, main: null }), integrity: () => "a page is damaged" };
  const evidence = await (await gatherEvidence({ dir, sources: [] })).optionsFor("main");
  let turns = 0;
  let waiting = setImmediate(function turn() {
    turns++;
    waiting = setImmediate(turn);
  });
  expect((await verifyChain(reader, evidence, new Cancel())).bad).toMatchObject({ kind: "damaged" });
  clearImmediate(waiting);
  // Other queries to the same thread, for a few hundred records each, are answered in between.
  expect(turns).toBeGreaterThan(9);
  reader[Symbol.dispose]();
  change("INSERT INTO audit SELECT -5, rec, leaf, part, salt, body FROM audit WHERE seq = 1");
  expect(await verified()).toMatchObject({ kind: "misplaced", seq: null });
  change("DELETE FROM audit WHERE seq = -5");
  change("UPDATE audit SET rec = replace(rec, 'system', 'nobody') WHERE seq = 2050");
  expect(await verified()).toMatchObject({ kind: "changed", seq: 2050 });
});
