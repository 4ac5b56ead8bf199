import { expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { outsideOf } from "../support/audit.ts";
import { daemonCommand, Place } from "../support/daemon.ts";
import { asNobody, canBecomeNobody } from "../support/processes.ts";

// Follows the advice of a log's refusal to the letter, once, and checks that it helps.

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

/** Moves away every file that a text names, each with its WAL; returns their names. */
function moveAway(place: Place, text: string): string[] {
  const kept = join(place.dir, "evidence");
  mkdirSync(kept, { recursive: true });
  const named = new Set(text.match(/\/[^\s,;]+\.(?:head|checkpoints|db)\b/g));
  for (const file of [...named].flatMap((path) => [path, `${path}-wal`]).filter((path) => existsSync(path))) {
    renameSync(file, join(kept, basename(file)));
  }
  return [...named].map((path) => basename(path)).sort();
}

test("T08 a start from an old copy names every file with newer evidence, and succeeds without those files", async () => {
  using place = new Place("");
  const elsewhere = join(place.dir, "elsewhere.checkpoints");
  place.configure({ servers: [], policies: [], audit: { checkpoints: [{ file: elsewhere }] } });
  await place.newKey("first");
  const copy = join(place.dir, "copy");
  cpSync(place.state, copy, { recursive: true });
  await place.newKey("second");
  rmSync(place.state, { recursive: true });
  renameSync(copy, place.state);

  const { code, stderr } = await place.cli(daemonCommand);
  expect([code, stderr]).toEqual([1, expect.stringContaining("audit chain main was moved back")]);
  expect(moveAway(place, stderr)).toEqual(["elsewhere.checkpoints", "main.checkpoints", "main.head"]);
  await using _daemon = await place.start();
});

test("T08 a start from a copy that continued elsewhere names the checkpoints of the other log too; without them the log verifies", async () => {
  using place = new Place("");
  const elsewhere = join(place.dir, "elsewhere.checkpoints");
  place.configure({ servers: [], policies: [], audit: { checkpoints: [{ file: elsewhere }] } });
  await place.newKey("first");
  const kept = join(place.dir, "kept");
  const parts = [place.state, place.heads, elsewhere];
  const copyTo = (dir: string): void => {
    for (const part of parts) cpSync(part, join(dir, basename(part)), { recursive: true });
  };
  copyTo(kept);
  await place.newKey("second");
  const other = join(place.dir, "other");
  copyTo(other);
  // The copy continues for longer, without the evidence of the original log.
  for (const part of parts) {
    rmSync(part, { recursive: true });
    cpSync(join(kept, basename(part)), part, { recursive: true });
  }
  for (const name of ["third", "fourth", "fifth"]) await place.newKey(name);
  for (const part of [place.heads, elsewhere]) {
    rmSync(part, { recursive: true });
    cpSync(join(other, basename(part)), part, { recursive: true });
  }
  const { code, stderr } = await place.cli(daemonCommand);
  expect([code, stderr]).toEqual([1, expect.stringContaining("notes a different record")]);
  expect(moveAway(place, stderr)).toEqual(["elsewhere.checkpoints", "main.checkpoints", "main.head"]);
  await (await place.start())[Symbol.asyncDispose]();
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
});

test("T08 if the head note is damaged, start, audit verify and keys list give a remedy, and work without it", async () => {
  using place = new Place({ servers: [], policies: [] });
  await place.newKey("agent");
  writeFileSync(join(outsideOf(place), "main.head"), "");
  let said = "";
  for (const args of [["audit", "verify"], ["keys", "list"], daemonCommand]) {
    const { code, stderr } = await place.cli(args);
    expect([code === 0, stderr]).toEqual([false, expect.stringContaining("or move it away and keep it as evidence")]);
    said = stderr;
  }
  expect(moveAway(place, said)).toEqual(["main.head"]);
  // The checkpoints next to it are still compared.
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
  await using _daemon = await place.start();
});

const damages: [where: string, from: number, code: string][] = [
  ["from its first byte", 0, "SQLITE_NOTADB"],
  ["after its table list", 4096, "SQLITE_CORRUPT"],
];

/** Matches the message about a damaged file. */
const damaged = (path: string, code: string): RegExp =>
  new RegExp(
    `${RegExp.escape(path)}: [^;]+ \\(${code}\\w*\\); check the kernel log [^;]+; [^;]+ stop the gateway, then`,
  );

test.each(damages)(
  "T08 if mcpgw.db is damaged %s, everything that reads it gives a remedy; without it a freeze still holds",
  async (_where, from, code) => {
    using place = new Place({ servers: [], policies: [] });
    await place.newKey("agent");
    await place.json("keys", "freeze");
    const path = join(place.state, "mcpgw.db");
    writeFileSync(path, readFileSync(path).fill(0xa5, from));
    let said = "";
    for (const args of [["usage"], ["keys", "list"], ["keys", "freeze"], daemonCommand]) {
      const ran = await place.cli(args);
      expect([args, ran.code === 0]).toEqual([args, false]);
      expect(ran.stderr).toMatch(damaged(path, code));
      said = ran.stderr;
    }
    expect(moveAway(place, said)).toEqual(["mcpgw.db"]);
    await using daemon = await place.start();
    expect(daemon.log).toContainEqual(expect.objectContaining({ msg: expect.stringContaining("mcpgw.db is new") }));
    expect(await place.json("status")).toMatchObject({ frozen: true });
    expect(await place.cli(["usage"])).toMatchObject({ code: 0 });
  },
);

test.each(damages)(
  "T08 if the log is damaged %s, a start gives a remedy, and succeeds without the named files",
  async (_where, from, code) => {
    using place = new Place({ servers: [], policies: [] });
    await place.newKey("agent");
    const path = join(place.state, "audit/main.db");
    writeFileSync(path, readFileSync(path).fill(0xa5, from));
    const refused = async (): Promise<string> => {
      const ran = await place.cli(daemonCommand);
      expect(ran.code).toBe(1);
      return ran.stderr;
    };
    const said = await refused();
    expect(said).toMatch(damaged(path, code));
    expect(moveAway(place, said)).toEqual(["main.db"]);
    expect(moveAway(place, await refused())).toEqual(["main.checkpoints", "main.head"]);
    await using _daemon = await place.start();
    expect(await place.json("keys", "list")).toMatchObject({ keys: [{ consumerId: "agent" }] });
  },
);

test("R9 A03 A14 a missing signing key is not replaced: its files are named, and a start succeeds without them", async () => {
  using place = new Place("");
  const log = join(place.dir, "log.db");
  place.configure({ servers: [], policies: [], audit: { path: log } });
  await place.newKey("agent");
  const key = join(place.state, "signing.key");
  rmSync(key);
  const refused = async (): Promise<string> => {
    let said = "";
    for (const words of ["keys create A agent user", "daemon --listen 127.0.0.1:0"]) {
      const { code, stderr } = await place.cli(words.split(" "));
      expect([code, stderr, existsSync(key)]).toEqual([1, expect.stringContaining(`${key} is missing`), false]);
      said = stderr;
    }
    return said;
  };
  // Without the state directory only the log is named; without the log, the store, which knows about it.
  for (const [away, left] of [
    [place.state, log],
    [log, join(place.state, "mcpgw.db")],
  ] as const) {
    renameSync(away, `${away}.kept`);
    expect(await refused()).toContain(`started with it: ${left}. `);
    rmSync(away, { recursive: true, force: true });
    renameSync(`${away}.kept`, away);
  }
  expect(moveAway(place, await refused())).toEqual(["log.db", "mcpgw.db"]);
  await using _daemon = await place.start();
  expect(existsSync(key)).toBe(true);
});

test.skipIf(process.getuid?.() !== 0)(
  "T62 a user who does not own the state directory is told to run as its owner, not to change the owner (needs root)",
  async () => {
    using place = new Place({ servers: [], policies: [] });
    await place.newKey("agent");
    chownSync(place.state, 993, 993);
    const { code, stderr } = await place.cli(["keys", "create", "B", "agent", "user"]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining(`${place.state} belongs to uid 993, and this is uid 0`),
    ]);
    // The owner's default would be another state directory.
    expect(stderr).toContain(`sudo -u '#993' mcpgw --state ${place.state} …`);
    expect(stderr).not.toContain("chown");
    // Also, no file is left there that its owner could not use.
    rmSync(join(place.state, "audit"), { recursive: true });
    expect(await place.cli(["keys", "create", "B", "agent", "user"])).toMatchObject({ code: 1 });
    expect(existsSync(join(place.state, "audit"))).toBe(false);
  },
);

test.skipIf(!canBecomeNobody)(
  "T62 no command reports an unreadable state directory as empty (needs setpriv as root)",
  async () => {
    using place = new Place({ servers: [], policies: [] });
    chmodSync(place.dir, 0o755);
    await place.newKey("agent");
    place.prefix = asNobody;
    place.flags = () => ["--state", place.state, "--socket", place.path("none.sock")];
    const why = "uid 65534 may not read it (EACCES): it belongs to uid 0, gid 0, mode 0700; run this as its owner";
    for (const words of [
      "audit verify",
      "audit log",
      "usage",
      "keys list",
      "keys freeze",
      "keys create B agent user",
    ]) {
      const { code, stderr } = await place.cli(words.split(" "));
      expect([code > 0, stderr]).toEqual([true, `mcpgw: ${place.state}: ${why}\n`]);
    }
  },
);

test("R9 A14 a log whose signing key is lost can be verified as audit verify advises, by an export and checkpoints kept elsewhere", async () => {
  using place = new Place({ servers: [], policies: [], audit: { checkpoints: [{ file: "kept.checkpoints" }] } });
  await place.newKey("agent");
  const pub = join(outsideOf(place), "signing.pub");
  rmSync(join(place.state, "signing.key"));
  const against = ["--pubkey", pub, "--checkpoint", join(place.dir, "kept.checkpoints")];
  const { code, stderr } = await place.cli(["audit", "verify", ...against]);
  expect([code, stderr]).toEqual([2, expect.stringContaining("signing.key is missing")]);
  const advised = [...stderr.matchAll(/`(?:mcpgw )?(audit [^`]+)`/g)].map(([, words = ""]) => words);
  expect(advised).toEqual(["audit export --out FILE", "audit verify --jsonl FILE --pubkey KEY --checkpoint FILE"]);
  expect((await place.cli(["audit", "export", "--out", "log.jsonl"])).code).toBe(0);
  expect((await place.cli(["audit", "verify", "--jsonl", "log.jsonl", ...against])).code).toBe(0);
});

test("R9 a command without a daemon reports what is wrong with the log that it continues", async () => {
  using place = new Place({ servers: [], policies: [] });
  await place.newKey("agent");
  rmSync(place.heads, { recursive: true });
  const create = () => place.cli(["keys", "create", "B", "agent", "user"]);
  const warning = "mcpgw: warning: the head note of this log is missing, ";
  expect((await create()).stderr).toContain(warning);
  expect((await create()).stderr).not.toContain(warning);
});
