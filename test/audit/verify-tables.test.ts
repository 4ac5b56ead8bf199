import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import type { AuditOptions } from "../../src/audit/options.ts";
import type { ChainReport } from "../../src/audit/verify.ts";
import { auditSchema } from "../../src/store/sqlite/schema.ts";
import { openBroker, runCall, tempState, verifyAt } from "../support/audit.ts";

// What verification finds beside the hashed records: payloads, numbers and tables that nobody recorded.

/** A closed chain of one call; each change is verified in a copy. */
async function recorded(payloads: AuditOptions["payloads"]) {
  const at = tempState();
  const opened = await openBroker(at, { payloads });
  await runCall(opened.broker, { args: '{"n":1}' });
  await opened.close();
  return {
    async after(...changes: string[]): Promise<ChainReport> {
      using copy = tempState();
      rmSync(copy.state, { recursive: true });
      cpSync(at.state, copy.state, { recursive: true });
      const db = new Database(copy.db());
      for (const change of changes) db.run(change);
      db.close();
      return await verifyAt({ state: copy.state, dir: null });
    },
    [Symbol.dispose]: at[Symbol.dispose],
  };
}

test("R9 A12 with digests, an added payload or salt is detected", async () => {
  using chain = await recorded("digest");
  expect(await chain.after()).toMatchObject({ exit: 3, bad: null });
  const forged = { exit: 1, bad: { seq: 1, kind: "payload", detail: "its args are not what was recorded" } };
  for (const change of ["body = '{}'", "salt = zeroblob(0)", "salt = CAST('a text that is no salt' AS BLOB)"]) {
    expect(await chain.after(`UPDATE audit SET ${change} WHERE seq = 1`)).toMatchObject(forged);
  }
});

test("R9 A13 a payload without its salt or its body counts as gone, and its record is named", async () => {
  using chain = await recorded("redacted");
  for (const column of ["salt", "body"]) {
    const report = await chain.after(`UPDATE audit SET ${column} = NULL WHERE seq = 1`);
    expect(report).toMatchObject({ exit: 1, bad: { seq: 1, kind: "payload", detail: "its args are gone" } });
  }
  const emptied = await chain.after("UPDATE audit SET salt = zeroblob(0) WHERE seq = 1");
  expect(emptied).toMatchObject({ exit: 1, bad: { seq: 1, kind: "payload" } });
});

test("R9 A05 a record inserted before the first one is detected", async () => {
  using chain = await recorded("redacted");
  for (const seq of ["0", "-1", "-9223372036854775808"]) {
    const report = await chain.after(
      `INSERT INTO audit(seq, rec, leaf) SELECT ${seq}, rec, leaf FROM audit WHERE seq = 1`,
    );
    expect(report).toMatchObject({ exit: 1, bad: { seq: null, kind: "misplaced" } });
  }
});

test("R9 A16 a changed view, trigger or table is detected, but statistics of SQLite are accepted", async () => {
  using chain = await recorded("redacted");
  expect(await chain.after("ANALYZE")).toMatchObject({ exit: 3, bad: null });
  const [view] = /CREATE VIEW record[^;]+/.exec(auditSchema.join("")) ?? [];
  const changes = [
    ["DROP VIEW record", `${view} WHERE rec NOT LIKE '%denied%'`],
    ["CREATE TRIGGER t AFTER INSERT ON audit BEGIN DELETE FROM subject; END"],
    ["CREATE TABLE other(a)"],
    ["ALTER TABLE audit ADD COLUMN more TEXT"],
  ];
  for (const change of changes) {
    expect(await chain.after(...change)).toMatchObject({ exit: 1, bad: { seq: null, kind: "damaged" } });
  }
});
