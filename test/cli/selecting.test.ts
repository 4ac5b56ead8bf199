import { afterAll, beforeAll, expect, test } from "bun:test";
import { sample, type Sample } from "../support/sample.ts";

// What commands say of the records that they are asked for.

let program: Sample;

beforeAll(async () => {
  program = sample();
  await program.start();
});
afterAll(() => program.close());

test("R25 R26: what selects nothing says so, and which name no record has", async () => {
  const said = async (words: string): Promise<string> => {
    const { code, err } = await program.run(["--json", ...words.split(" ")]);
    expect(code).toBe(0);
    return err;
  };
  expect(await said("audit log --server crm --consumer intern-bot")).toBe("no record matches\n");
  expect(await said("audit log --server crm --consumer nobody")).toBe("no record so far is of consumer nobody\n");
  expect(await said("audit log --tool files:nope")).toBe("no record so far is of tool files:nope\n");
  expect(await said("usage nobody")).toBe("no record so far is of consumer nobody\n");
  expect(await said("usage intern-bot")).toBe("no call matches\n");
  expect(await said("audit log --server crm")).not.toContain("no record");
  expect(await said("tail --server crm")).toBe("");
  expect(await said("tail --server nope")).toBe("no record so far is of server nope\n");
});

test("R25: audit log says if older records match too, and nothing of the kind if it shows all", async () => {
  const cut = await program.run(["audit", "log", "--limit", "2"]);
  expect(cut.err).toContain("only the newest 2 are shown; --limit or --until shows older ones\n");
  const listed = async (limit: number): Promise<unknown> =>
    JSON.parse((await program.run(["--json", "audit", "log", "--limit", String(limit)])).out);
  expect(await listed(5)).toMatchObject({ records: [{ seq: 2 }, {}, {}, {}, { seq: 6 }], more: true });
  expect(await listed(6)).toMatchObject({ more: false });
  expect((await program.run(["audit", "log"])).err).not.toContain("only the newest");
});

test("R26 usage by day says that its days are those of UTC", async () => {
  const { out } = await program.run(["usage", "--by", "day"], { env: { TZ: "Pacific/Kiritimati" } });
  expect(out).toMatch(/^DAY \(UTC\) .*\n2026-03-01 /);
});
