import { expect, test } from "bun:test";
import { appendFileSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { maxLine, request } from "../../src/control/messages.ts";
import { run } from "../support/command-line.ts";
import { TempDir } from "../support/temp-dir.ts";
import { canMount, mountTmpfs } from "../support/tmpfs.ts";

// How commands read and write the files that they are given.

test("R25 audit verify reads the files in a directory, but does not block on a pipe among them", async () => {
  using at = new TempDir();
  writeFileSync(at.path("kept.checkpoints"), "note\n");
  expect(Bun.spawnSync(["mkfifo", at.path("pipe")]).exitCode).toBe(0);
  let asked: unknown;
  await run(`audit verify --checkpoint ${at.dir}`, (_name, input) => {
    asked = input;
    return { exit: 3, chains: [], pubkey: null };
  });
  expect(asked).toEqual({ checkpoints: [{ source: at.path("kept.checkpoints"), text: "note\n" }] });
});

test("R25 audit verify sends the newest checkpoints that fit into one request, however many there are", async () => {
  using at = new TempDir();
  const note = (n: number) => `mcpgw/0123/main\n${n}\n\n— mcpgw/0123/main \u0000\n\n`;
  const notes = Array.from({ length: 50_000 }, (_, n) => note(n)).join("");
  const few = note(0) + note(49_999);
  for (const [name, text] of Object.entries({ a: notes, b: notes, c: few })) writeFileSync(at.path(name), text);
  for (const [from, files] of [
    [at.path("a"), 1],
    [at.dir, 3],
  ] as const) {
    let asked = { checkpoints: [{ text: "" }] };
    await run(`audit verify --checkpoint ${from}`, (_name, input) => {
      asked = input as typeof asked;
      return { exit: 3, chains: [], pubkey: null };
    });
    expect(Buffer.byteLength(request(1, "audit.verify", asked))).toBeWithin(maxLine / 2, maxLine);
    expect(asked.checkpoints.map(({ text }) => text.endsWith(note(49_999)))).toEqual(Array(files).fill(true));
    if (files > 1) expect(asked.checkpoints[0]?.text).toBe(few);
  }
});

test("R25 audit verify reads only the end of a checkpoint file that is larger than memory", async () => {
  using at = new TempDir();
  const file = at.path("long");
  writeFileSync(file, "");
  truncateSync(file, 2 ** 33);
  appendFileSync(file, "\nthe newest\n");
  let asked = { checkpoints: [{ text: "" }] };
  await run(`audit verify --checkpoint ${file}`, (_name, input) => {
    asked = input as typeof asked;
    return { exit: 3, chains: [], pubkey: null };
  });
  expect(asked.checkpoints.map(({ text }) => text.endsWith("\nthe newest\n"))).toEqual([true]);
});

test.skipIf(!canMount())(
  "R9 T04 audit export fails if the disk has room for only part of the last record (needs to mount)",
  async () => {
    using disk = mountTmpfs("8k");
    if (!disk) throw new Error("nothing can be mounted any more");
    const file = `${disk.dir}/audit.jsonl`;
    const record = JSON.stringify({ rec: "x".repeat(3000) });
    const ask = (count: number) =>
      run(`audit export --out ${file}`, async function* () {
        for (let n = 0; n < count; n++) yield record;
      });
    expect(await ask(3)).toMatchObject({
      code: 1,
      err: expect.stringContaining(`cannot write ${file} (ENOSPC); the disk is full; free some space`),
    });
    expect(readdirSync(disk.dir)).toEqual([]);
    expect(await ask(2)).toMatchObject({ code: 0, err: `2 records in ${file}\n` });
  },
);

test("R9 audit export gives the file its name only once it is complete, so a partial export cannot look complete", async () => {
  using at = new TempDir();
  const file = at.path("audit.jsonl");
  const seen: boolean[] = [];
  const whole = await run(`audit export --out ${file}`, async function* () {
    for (let n = 0; n < 3; n++) {
      yield "{}";
      seen.push(existsSync(file));
    }
  });
  expect(whole).toMatchObject({ code: 0, err: `3 records in ${file}\n` });
  expect(seen).toEqual([false, false, false]);
  expect(readdirSync(at.dir)).toEqual(["audit.jsonl"]);
});

test("R9 audit export keeps a file that was created at its path in the meantime, and leaves no draft", async () => {
  using at = new TempDir();
  const file = at.path("audit.jsonl");
  const late = await run(`audit export --out ${file}`, async function* () {
    yield "{}";
    writeFileSync(file, "of another");
  });
  expect(late).toMatchObject({ code: 2, err: expect.stringContaining(`${file} already exists`) });
  expect(readFileSync(file, "utf8")).toBe("of another");
  expect(readdirSync(at.dir)).toEqual(["audit.jsonl"]);
});

test.each([
  ["file/audit.jsonl", "(ENOTDIR); a component of that path is not a directory"],
  ["x".repeat(300), "(ENAMETOOLONG); that name is too long"],
])("R9 audit export says before it is recorded why the file cannot be created: %s", async (name, why) => {
  using at = new TempDir();
  writeFileSync(at.path("file"), "");
  const ran = await run(`audit export --out ${at.path(name)}`, async function* () {
    yield "{}";
  });
  expect(ran).toMatchObject({
    code: 2,
    err: expect.stringContaining(`cannot write ${at.path(name)} ${why}`),
    opened: [],
  });
});
