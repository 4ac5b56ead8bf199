import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { daemonCommand, everything, fake, Place } from "../support/daemon.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { pick } from "../support/wire.ts";

// Someone with the gateway's rights changes its log while it is stopped; `audit verify` names the first bad record.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = { servers: [fake("fake")], policies: [everything()] };
const copies: Place[] = [];
let original: Place;
/** A copy of the state before the last calls, as in a backup. */
let backup: Place;

function copyOf(place: Place): Place {
  const copy = new Place(config);
  cpSync(place.state, copy.state, { recursive: true });
  cpSync(place.heads, copy.heads, { recursive: true });
  copies.push(copy);
  return copy;
}

async function callSome(place: Place, key: string): Promise<void> {
  await using daemon = await place.start();
  for (let i = 0; i < 8; i++) await daemon.call("fake__echo", { i }, key);
}

beforeAll(async () => {
  original = new Place(config);
  const key = await original.key("alice");
  await callSome(original, key);
  backup = copyOf(original);
  await callSome(original, key);
});
afterAll(() => {
  for (const place of [original, ...copies]) place[Symbol.dispose]();
});

type Row = { seq: number; rec: string; leaf: Uint8Array };

/** Returns a copy of the original whose chain is changed by `act`. */
function tampered(act: (db: Database) => void): Place {
  const place = copyOf(original);
  const db = new Database(join(place.state, "audit/main.db"));
  act(db);
  db.close();
  return place;
}

const rows = (db: Database): Row[] => db.query("SELECT seq, rec, leaf FROM audit ORDER BY seq").all() as Row[];

/** Changes the consumer of a record and rewrites the chain from there. */
function rechain(db: Database, from: number): void {
  let prev: string | null = null;
  for (const { seq, rec } of rows(db).filter((row) => row.seq >= from)) {
    const text: string =
      prev === null ? rec.replace('"alice"', '"mallory"') : rec.replace(/"prev":"[^"]*"/, `"prev":"${prev}"`);
    expect(text).not.toBe(rec);
    const leaf: Buffer = createHash("sha256").update("\0").update(text).digest();
    db.run("UPDATE audit SET rec = ?, leaf = ? WHERE seq = ?", [text, leaf, seq]);
    prev = leaf.toString("base64url");
  }
}

async function verify(place: Place) {
  const ran = await place.cli(["audit", "verify", "--json"]);
  return { code: ran.code, bad: pick(JSON.parse(ran.stdout), "chains.0.bad") };
}

const attacks: Record<string, { act: (db: Database) => void; first: number | null }> = {
  "A01: a record is edited": {
    act: (db) => void db.run(`UPDATE audit SET rec = replace(rec, '"v":1', '"v":2') WHERE seq = 10`),
    first: 10,
  },
  "A02: a leaf is edited": {
    act: (db) => void db.run("UPDATE audit SET leaf = zeroblob(32) WHERE seq = 10"),
    first: 10,
  },
  "A03: a record is edited and the chain rewritten from there": { act: (db) => rechain(db, 10), first: null },
  "A04: a record is deleted": { act: (db) => void db.run("DELETE FROM audit WHERE seq = 10"), first: 10 },
  "A05: a record is inserted": {
    act: (db) => {
      db.run("UPDATE audit SET seq = seq + 1000 WHERE seq > 10");
      db.run("INSERT INTO audit(seq, rec, leaf) SELECT 11, rec, leaf FROM audit WHERE seq = 10");
      db.run("UPDATE audit SET seq = seq - 999 WHERE seq > 1000");
    },
    first: 11,
  },
  "A06: two records are swapped": {
    act: (db) => {
      db.run("UPDATE audit SET seq = -seq WHERE seq IN (10, 11)");
      db.run("UPDATE audit SET seq = 21 + seq WHERE seq < 0");
    },
    first: 10,
  },
  "A07: records are renumbered": {
    act: (db) => void db.run("UPDATE audit SET seq = seq + 100 WHERE seq >= 10"),
    first: 10,
  },
  "A08: the end is cut off": { act: (db) => void db.run("DELETE FROM audit WHERE seq >= 15"), first: null },
};

test("R9, R25: an untouched log verifies with exit 0 with its checkpoint, and 3 without it", async () => {
  expect(await verify(original)).toEqual({ code: 0, bad: null });
  const bare = copyOf(original);
  rmSync(bare.heads, { recursive: true });
  const ran = await bare.cli(["audit", "verify"]);
  expect(ran.code).toBe(3);
  expect(ran.stdout).toContain("NOT PROVEN");
});

test.each(Object.entries(attacks))("%s: exit 1 with the first bad record", async (_name, { act, first }) => {
  const place = tampered(act);
  const { code, bad } = await verify(place);
  expect(code).toBe(1);
  expect(bad).toMatchObject({ kind: expect.any(String), detail: expect.any(String) });
  if (first !== null) expect(pick(bad, "seq")).toBe(first);
  const shown = await place.cli(["audit", "verify"]);
  expect(shown.code).toBe(1);
  expect(shown.stdout).toContain("TAMPERED");
  if (first !== null) expect(shown.stdout).toContain(`record ${first}:`);
  expect(shown.stdout).toMatch(/^chain main: \d+ records checked$/m);
  expect(shown.stdout).not.toContain("name one with --checkpoint");
});

test("A12: a payload is edited", async () => {
  const place = tampered((db) => {
    const { sql } = db.query("SELECT sql FROM sqlite_master WHERE name = 'audit'").get() as { sql: string };
    const table = sql.includes("body") ? "audit" : "payload";
    db.run(
      `UPDATE ${table} SET body = '{"i":99}' WHERE body IS NOT NULL AND seq = (SELECT min(seq) FROM ${table} WHERE body IS NOT NULL)`,
    );
  });
  const { code, bad } = await verify(place);
  expect([code, pick(bad, "kind")]).toEqual([1, "payload"]);
});

const checkpointsOf = async (place: Place): Promise<string> =>
  pick(await place.json("audit", "verify"), "chains.0.checkpoint.source") as string;

test("A14, A15: an edited checkpoint is reported as forged; one of another installation is reported as such", async () => {
  const forged = copyOf(original);
  const file = await checkpointsOf(forged);
  const flip = (_all: string, head: string, first: string): string => head + (first === "A" ? "B" : "A");
  writeFileSync(file, readFileSync(file, "utf8").replace(/^(mcpgw\/.*\n\d+\n)(.)/gm, flip));
  expect(await verify(forged)).toMatchObject({ code: 1, bad: { kind: "forged-checkpoint" } });
  using stranger = new Place(config);
  await stranger.key("mallory");
  const bare = copyOf(original);
  const pub = join(await checkpointsOf(bare), "../signing.pub");
  const foreign = ["audit", "verify", "--checkpoint", await checkpointsOf(stranger), "--pubkey", pub];
  rmSync(join(pub, "../main.checkpoints"));
  expect(await bare.cli(foreign)).toMatchObject({ code: 1, stdout: expect.stringContaining("another installation") });
});

test("A03, A08, A14, A15: --checkpoint proves with what was given or reports why it cannot; the file beside the log never does", async () => {
  const file = await checkpointsOf(original);
  const given = async (from: string, place = original) => {
    const ran = await place.cli(["audit", "verify", "--json", "--checkpoint", from]);
    const source = ran.code < 2 ? pick(JSON.parse(ran.stdout), "chains.0.checkpoint.source") : null;
    return { code: ran.code, source, stderr: ran.stderr };
  };
  const kept = join(original.dir, "kept");
  cpSync(file, kept);
  expect(await given(kept)).toMatchObject({ code: 0, source: kept });
  const shelf = join(original.dir, "shelf");
  mkdirSync(join(shelf, "older"), { recursive: true });
  cpSync(kept, join(shelf, "kept"));
  expect(await given(shelf)).toMatchObject({ code: 0, source: join(shelf, "kept") });
  const garbage = join(original.dir, "garbage");
  writeFileSync(garbage, "nothing signed\n");
  const empty = join(original.dir, "empty");
  mkdirSync(empty, { recursive: true });
  const many = join(original.dir, "many");
  mkdirSync(many);
  for (let i = 0; i < 101; i += 1) cpSync(kept, join(many, String(i)));
  using web = Bun.serve({
    port: 0,
    fetch: ({ url }) => (url.endsWith("/kept") ? new Response(Bun.file(kept)) : new Response("<html>")),
  });
  expect(await given(`${web.url.href}kept`)).toMatchObject({ code: 0, source: `${web.url.href}kept` });
  const places = {
    "/dev/null": "no checkpoint",
    [garbage]: "no checkpoint",
    [empty]: "contains no files",
    [many]: "contains 101 files",
    "/nowhere": "/nowhere does not exist",
  };
  for (const [from, says] of Object.entries({ ...places, [web.url.href]: "no checkpoint" })) {
    const { code, stderr } = await given(from);
    expect([from, code, stderr]).toEqual([from, 2, expect.stringContaining(says)]);
  }
  // The whole history rewritten, under a new key and with matching files beside it.
  using rewritten = new Place(config);
  await rewritten.key("alice");
  expect((await rewritten.cli(["audit", "verify"])).code).toBe(0);
  expect((await given(kept, rewritten)).code).toBe(1);
});

test("exit 2 if nothing can be checked, 1 if a chain with an external note is gone", async () => {
  const place = copyOf(original);
  const code = async (...args: string[]): Promise<[number, string]> => {
    const ran = await place.cli(["audit", "verify", ...args]);
    return [ran.code, ran.stdout + ran.stderr];
  };
  expect(await code("--jsonl", "/nowhere")).toEqual([2, expect.stringContaining("/nowhere")]);
  expect(await code("--checkpoint", "http://127.0.0.1:1/")).toEqual([2, expect.stringContaining("127.0.0.1:1")]);
  expect(await code("--pubkey", "keys/none.pub")).toEqual([
    2,
    expect.stringContaining("keys/none.pub is neither an existing file"),
  ]);
  for (const flag of ["--jsonl", "--pubkey"]) {
    const directory = `${flag}: ${place.dir} cannot be read (EISDIR`;
    expect(await code(flag, place.dir)).toEqual([2, expect.stringContaining(directory)]);
  }
  writeFileSync(join(place.dir, "garbage.pub"), "nonsense");
  expect(await code("--pubkey", "garbage.pub")).toEqual([2, expect.stringContaining("neither 32 bytes in base64 nor")]);
  expect(await code("--pubkey", "A".repeat(47))).toEqual([2, expect.stringContaining("the public key is neither")]);
  const head = (await checkpointsOf(place)).replace(/checkpoints$/, "head");
  const note = readFileSync(head);
  writeFileSync(head, "{");
  expect(await code()).toEqual([2, expect.stringContaining(head)]);
  writeFileSync(head, note);
  rmSync(join(place.state, "audit"), { recursive: true });
  expect(await code()).toEqual([1, expect.stringContaining("the chain ends at record 0")]);
});

test("exit 2: a file that is not a database, or no longer one, is unreadable", async () => {
  const place = copyOf(original);
  for (const name of ["main.db-wal", "main.db-shm"]) rmSync(join(place.state, "audit", name), { force: true });
  writeFileSync(join(place.state, "audit/main.db"), Buffer.alloc(8192, "garbage "));
  const ran = await place.cli(["audit", "verify"]);
  expect(ran.code).toBe(2);
  expect(ran.stdout + ran.stderr).toContain(join(place.state, "audit/main.db"));
});

test("T07: a log that is replaced or deleted under a running daemon is neither proven nor used for answers", async () => {
  const place = copyOf(original);
  await using _daemon = await place.start();
  // From now on the daemon also has the file open for reading.
  expect((await place.cli(["audit", "log"])).code).toBe(0);
  const file = join(place.state, "audit/main.db");
  for (const suffix of ["", "-wal", "-shm"]) renameSync(file + suffix, `${file}.old${suffix}`);
  for (const [how, exit, lose] of [
    ["replaced", 2, () => cpSync(join(backup.state, "audit/main.db"), file)],
    ["deleted", 1, () => rmSync(file)],
  ] as const) {
    lose();
    const cause: unknown = expect.stringContaining(`${file}${how === "replaced" ? " was" : ":"} ${how} while in use`);
    const bad: unknown = expect.objectContaining({ detail: cause });
    expect(await verify(place)).toEqual({ code: exit, bad });
    const reads = ["audit log", "audit stats", "audit show 3", "audit export --jsonl", "usage"];
    const ran = await Promise.all(reads.map((read) => place.cli(read.split(" "))));
    expect(ran).toEqual(reads.map(() => ({ code: 1, stdout: "", stderr: cause })) as typeof ran);
  }
});

test("T08, A10: a restored old backup is refused at the start, since the head has moved back", async () => {
  const place = copyOf(backup);
  rmSync(place.heads, { recursive: true });
  cpSync(original.heads, place.heads, { recursive: true });
  const ran = await place.cli(daemonCommand);
  expect(ran.code).not.toBe(0);
  expect(ran.stderr).toContain("moved back");
  expect((await verify(place)).code).toBe(1);
});

test("T07, A08: another gateway's chain is checked as it is on disk, even if the daemon had it open before", async () => {
  const auth = { stdio: { consumerId: "local", roles: ["user"] } };
  using place = new Place({ ...config, auth, audit: { path: "own.db" } });
  {
    await using client = new StdioClient(place);
    await client.open();
    for (let i = 0; i < 8; i += 1) await client.call("fake__echo", { i });
  }
  const file = join(place.state, "audit/serve-1.db");
  const copy = `${file}.copy`;
  cpSync(file, copy);
  const cut = new Database(copy);
  cut.run("DELETE FROM audit WHERE seq > 12");
  cut.close();
  await using _daemon = await place.start();
  const serve1 = async () => {
    const ran = await place.cli(["audit", "verify", "--json"]);
    const { chains } = JSON.parse(ran.stdout) as { chains: { chain: string; bad: unknown; records: number }[] };
    return { code: ran.code, ...chains.find(({ chain }) => chain === "serve-1") };
  };
  const log = async () => (await place.cli(["audit", "log"])).stdout;
  expect(await serve1()).toMatchObject({ code: 0, bad: null });
  expect(await log()).toContain("echo");
  // A replacement of the gateway's own chain says nothing about this one.
  const main = place.path("own.db");
  renameSync(main, `${main}.away`);
  cpSync(`${main}.away`, main);
  expect(await serve1()).toMatchObject({ code: 2, bad: null });
  renameSync(`${main}.away`, main);
  renameSync(copy, file);
  for (const suffix of ["-wal", "-shm"]) rmSync(file + suffix, { force: true });
  expect(await serve1()).toMatchObject({ code: 1, bad: { kind: "truncated" }, records: 12 });
  rmSync(file);
  expect(await serve1()).toMatchObject({ code: 1, bad: { kind: "truncated" }, records: 0 });
  expect(await place.cli(["audit", "log"])).toMatchObject({
    code: 0,
    stdout: expect.not.stringContaining("fake:echo"),
  });
});
