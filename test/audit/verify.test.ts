import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { genesis, hashText, leafOf, sha256 } from "../../src/audit/chain.ts";
import { originOf, signCheckpoint } from "../../src/audit/checkpoint.ts";
import { checkpointFile, installDir } from "../../src/audit/outside.ts";
import { generateSigningKey, installOf, loadSigningKey, readSigningKey } from "../../src/audit/signing-key.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { openBroker, runCall, tempState, verifyAt, recordCall } from "../support/audit.ts";
import { closedChain, type Outside } from "../support/closed-chain.ts";
import { reasonOf } from "../support/failure.ts";

let original: Outside;

beforeAll(async () => {
  original = await closedChain();
});
afterAll(() => original[Symbol.dispose]());

function copy(): Outside {
  const at = tempState();
  rmSync(at.state, { recursive: true });
  cpSync(original.state, at.state, { recursive: true });
  cpSync(original.heads, at.heads, { recursive: true });
  return { ...at, dir: installDir(at.heads, original.publicKey), publicKey: original.publicKey };
}

function edit(at: Outside, work: (db: Database) => void): void {
  const db = new Database(at.db());
  try {
    work(db);
  } finally {
    db.close();
  }
}

/** Without the notes outside, as if only the state directory had survived. */
const withoutOutside = (at: Outside) => rmSync(at.heads, { recursive: true });

type Stored = { seq: number; rec: string; leaf: Uint8Array };
const rowsOf = (db: Database, from = 1) =>
  db.query<Stored, [number]>("SELECT seq, rec, leaf FROM audit WHERE seq >= ? ORDER BY seq").all(from);

/** Rewrites a record and everything after it so that hashes and links are right again. */
function rechain(db: Database, from: number, change: (rec: string) => string): void {
  const before = rowsOf(db, from - 1)[0];
  let prev = from === 1 ? genesis("main", original.publicKey) : (before?.leaf ?? new Uint8Array());
  for (const { seq, rec } of rowsOf(db, from)) {
    const next = (seq === from ? change(rec) : rec).replace(/"prev":"[^"]*"/, `"prev":"${hashText(prev)}"`);
    prev = leafOf(next);
    db.run("UPDATE audit SET rec = ?, leaf = ? WHERE seq = ?", [next, prev, seq]);
  }
}

const denial = (rec: string) => rec.replace('"consumer":"agent"', '"consumer":"other"');

test("R9 R25 verify: an untouched chain is proven against the checkpoint outside", async () => {
  const report = await verifyAt(original);
  expect(report).toMatchObject({ chain: "main", exit: 0, bad: null, checkpoint: { after: 1, sameHost: true } });
  expect(report.checkpoint?.source).toBe(checkpointFile(original.dir, "main"));
  expect(report.records).toBe(22);
  expect(Date.now() - (report.checkpoint?.at ?? 0)).toBeLessThan(60_000);
});

test("R9 verify: without a checkpoint outside, an intact chain is intact but not proven: 3", async () => {
  using at = copy();
  withoutOutside(at);
  expect(await verifyAt(at)).toMatchObject({ exit: 3, bad: null, checkpoint: null, records: 22 });
});

const tampering: Record<string, [change: (db: Database, at: Outside) => void, seq: number | null, kind: string]> = {
  "A01 an edited record": [
    (db) => db.run("UPDATE audit SET rec = replace(rec, 'agent', 'other') WHERE seq = 7"),
    7,
    "changed",
  ],
  "A02 an edited leaf": [(db) => db.run("UPDATE audit SET leaf = zeroblob(32) WHERE seq = 7"), 7, "changed"],
  "A02 record and leaf edited": [
    (db) => {
      const rec = denial(rowsOf(db, 7)[0]?.rec ?? "");
      db.run("UPDATE audit SET rec = ?, leaf = ? WHERE seq = 7", [rec, leafOf(rec)]);
    },
    8,
    "unlinked",
  ],
  "A03 a rehashed suffix": [(db) => rechain(db, 7, denial), 1, "rewritten"],
  "A03 a rehashed suffix after the first checkpoint": [
    (db) => rechain(db, 13, (rec) => rec.replace('"us":', '"us":9')),
    11,
    "rewritten",
  ],
  "A04 a record deleted in the middle": [(db) => db.run("DELETE FROM audit WHERE seq = 7"), 7, "missing"],
  "A04 the first record deleted": [(db) => db.run("DELETE FROM audit WHERE seq = 1"), 1, "missing"],
  "A05 an inserted record": [
    (db) => {
      for (const { seq } of rowsOf(db, 7).toReversed()) db.run("UPDATE audit SET seq = seq + 1 WHERE seq = ?", [seq]);
      db.run("INSERT INTO audit(seq, rec, leaf) SELECT 7, rec, leaf FROM audit WHERE seq = 6");
    },
    7,
    "unlinked",
  ],
  "A06 two records swapped": [
    (db) => {
      const [a, b] = rowsOf(db, 7);
      db.run("UPDATE audit SET rec = ?, leaf = ? WHERE seq = 7", [b?.rec ?? "", b?.leaf ?? ""]);
      db.run("UPDATE audit SET rec = ?, leaf = ? WHERE seq = 8", [a?.rec ?? "", a?.leaf ?? ""]);
    },
    7,
    "unlinked",
  ],
  "A07 records renumbered over a gap": [
    (db) => {
      db.run("DELETE FROM audit WHERE seq = 7");
      for (const { seq } of rowsOf(db, 8)) db.run("UPDATE audit SET seq = seq - 1 WHERE seq = ?", [seq]);
    },
    7,
    "unlinked",
  ],
  "A08 the tail cut off": [(db) => db.run("DELETE FROM audit WHERE seq > 15"), 16, "truncated"],
  "A08 one record cut off, beyond every checkpoint": [
    (db) => db.run("DELETE FROM audit WHERE seq = 22"),
    22,
    "truncated",
  ],
  "A08 everything deleted": [(db) => db.run("DELETE FROM audit"), 1, "truncated"],
  "A09 a new history after a cut": [
    (db) => rechain(db, 12, (rec) => rec.replace('"consumer":"b"', '"consumer":"c"')),
    11,
    "rewritten",
  ],
  "A12 a payload edited": [(db) => db.run("UPDATE audit SET body = '{}' WHERE seq = 3"), 3, "payload"],
  "A13 a payload deleted without a record": [
    (db) => db.run("UPDATE audit SET part = NULL, salt = NULL, body = NULL WHERE seq = 3"),
    3,
    "payload",
  ],
  "A14 a checkpoint signed by another key": [
    (_, at) => {
      const forged = signCheckpoint(
        { origin: originOf(installOf(at.publicKey), "main"), size: 20, root: sha256(""), at: 0 },
        readSigningKey(generateSigningKey()),
      );
      appendFileSync(checkpointFile(at.dir, "main"), `${forged}\n`);
    },
    null,
    "forged-checkpoint",
  ],
};

for (const [name, [change, seq, kind]] of Object.entries(tampering)) {
  test(`R9 verify: ${name} is detected`, async () => {
    using at = copy();
    edit(at, (db) => change(db, at));
    const report = await verifyAt(at);
    expect(report.bad).toMatchObject({ seq, kind });
    expect(report.exit).toBe(1);
  });
}

test("A03 verify: a completely rehashed chain is detected only with a checkpoint, and is never called proven without one", async () => {
  using at = copy();
  edit(at, (db) => rechain(db, 1, denial));
  const notes = join(at.root, "notes");
  copyFileSync(checkpointFile(at.dir, "main"), notes);
  withoutOutside(at);
  expect(await verifyAt(at)).toMatchObject({ exit: 3, bad: null });
  mkdirSync(at.dir, { recursive: true });
  expect(await verifyAt(at, { sources: [notes], publicKey: original.publicKey.toBase64() })).toMatchObject({
    exit: 1,
    bad: { kind: "rewritten" },
  });
});

test("A10 verify: a restored old copy is detected by the head note", async () => {
  using at = tempState();
  const { publicKey } = await loadSigningKey(join(at.state, "signing.key"));
  await recordCall(at, { durability: "strict" });
  cpSync(at.state, join(at.root, "old"), { recursive: true });
  await recordCall(at, { durability: "strict" });
  rmSync(at.state, { recursive: true });
  cpSync(join(at.root, "old"), at.state, { recursive: true });
  rmSync(checkpointFile(installDir(at.heads, publicKey), "main"));
  const report = await verifyAt({ ...at, dir: installDir(at.heads, publicKey) });
  expect(report).toMatchObject({ exit: 1, bad: { kind: "truncated" } });
});

test("A11 verify: the deletion of a write-ahead log with records in it is detected", async () => {
  using at = tempState();
  const { publicKey } = await loadSigningKey(join(at.state, "signing.key"));
  const opened = await openBroker(at, { durability: "strict" });
  for (let i = 0; i < 3; i += 1) await runCall(opened.broker);
  await opened.broker.checkpoint();
  // As after kill -9: database and log are unchanged, and nobody closed them.
  const left = join(at.root, "left");
  cpSync(at.state, left, { recursive: true });
  rmSync(join(left, "audit", "main.db-wal"));
  rmSync(join(left, "audit", "main.db-shm"), { force: true });
  await opened.close();
  const report = await verifyAt({ ...at, state: left, dir: installDir(at.heads, publicKey) });
  expect(report.exit).toBeGreaterThan(0);
  expect(report.exit).not.toBe(3);
});

test("A15 verify: checkpoints of another chain prove nothing", async () => {
  using at = copy();
  const file = checkpointFile(at.dir, "main");
  writeFileSync(file, readFileSync(file, "utf8").replaceAll("/main\n", "/serve-1\n"));
  rmSync(join(at.dir, "main.head"));
  expect(await verifyAt(at)).toMatchObject({ exit: 3, checkpoint: null });
});

test("A16 verify: the search index is not evidence", async () => {
  using at = copy();
  writeFileSync(join(at.state, "index.db"), "rubbish");
  expect(await verifyAt(at)).toMatchObject({ exit: 0 });
  using reader = openReader({ state: at.state, main: null });
  expect(reader.find({ consumer: "b" }).rows).toHaveLength(4);
});

test("R25 verify: a missing file, or one that is not a database, is unreadable: 2", async () => {
  using at = copy();
  writeFileSync(at.db(), "not a database, but long enough to have a header".repeat(100));
  expect(await verifyAt(at)).toMatchObject({ exit: 2, bad: { kind: "unreadable" } });
  rmSync(at.db());
  expect(existsSync(at.db())).toBe(false);
  expect(await verifyAt(at)).toMatchObject({ exit: 2, bad: { kind: "unreadable" } });
});

test("verify: an invalid key and a missing checkpoint file are errors, not proof", async () => {
  expect(String(await reasonOf(verifyAt(original, { publicKey: "x" })))).toContain("public key");
  expect(String(await reasonOf(verifyAt(original, { sources: ["/nowhere/notes"] })))).toContain("/nowhere/notes");
});

const verifyGiven = (at: Outside, text: string) => verifyAt(at, { texts: [{ source: "given", text }] });

test("A08 A14 A15 verify: if checkpoints are given, only they prove; foreign ones contradict, and an empty file is an error", async () => {
  const text = readFileSync(checkpointFile(original.dir, "main"), "utf8");
  expect(await verifyGiven(original, text)).toMatchObject({
    exit: 0,
    checkpoint: { source: "given", sameHost: false },
  });
  const sibling = text.replaceAll("/main\n", "/serve-1\n").replaceAll("/main ", "/serve-1 ");
  expect(await verifyGiven(original, sibling)).toMatchObject({ exit: 3, bad: null, checkpoint: null });
  const key = readSigningKey(generateSigningKey());
  const stranger = signCheckpoint(
    { origin: originOf(installOf(key.publicKey), "main"), size: 20, root: sha256(""), at: 0 },
    key,
  );
  const foreign = {
    exit: 1,
    bad: { kind: "foreign-checkpoint", detail: expect.stringContaining("another installation") },
  };
  expect(await verifyGiven(original, stranger)).toMatchObject(foreign);
  expect(await verifyGiven(original, `${text}\n${stranger}`)).toMatchObject({ exit: 3, bad: null });
  for (const none of ["", "garbage\n", text.slice(0, 40)]) {
    expect(String(await reasonOf(verifyGiven(original, none)))).toContain("no checkpoint in given");
  }
});

test("verify: a damaged head note is reported with its file", async () => {
  using at = copy();
  for (const note of ["{", "null", '{"seq":"1"}']) {
    writeFileSync(join(at.dir, "main.head"), note);
    expect(String(await reasonOf(verifyAt(at)))).toContain(join(at.dir, "main.head"));
  }
});
