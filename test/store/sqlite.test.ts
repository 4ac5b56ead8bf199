import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tryLock } from "../../src/core/libc.ts";
import { StoreBusy, StoreFailed, StoreUnsynced } from "../../src/core/store.ts";
import { embeddedChains, openFreeChain, openState, prepareStateDir } from "../../src/store/open.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { openWalCheckpointer } from "../../src/store/sqlite/wal-checkpointer.ts";
import { withPath } from "../../src/store/sqlite/database.ts";
import { openIndexWriter } from "../../src/store/sqlite/index-writer.ts";
import { chainPath } from "../../src/store/sqlite/paths.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { openUsageStore, readUsage } from "../../src/store/sqlite/usage.ts";
import { type Backend, rowsOf, storeSuite } from "../suites/store.ts";
import { storedKey } from "../support/key-store.ts";
import { TempDir } from "../support/temp-dir.ts";

function temporary() {
  const at = new TempDir();
  const dir = at.path("state");
  prepareStateDir(dir);
  const home = { state: dir, main: null };
  return { dir, home, main: chainPath(home, "main"), [Symbol.dispose]: () => at[Symbol.dispose]() };
}

function openBackend(dir: string, drop: () => void): Backend {
  const chain = openChain(chainPath({ state: dir, main: null }, "main"));
  const state = openState(dir);
  const usage = openUsageStore(join(dir, "mcpgw.db"));
  const reader = openReader({ state: dir, main: null });
  let open = true;
  const close = (): void => {
    if (open) for (const part of [reader, usage, state, chain]) part[Symbol.dispose]();
    open = false;
  };
  let next: Backend | null = null;
  return {
    chain,
    state,
    usage,
    reader,
    reopen() {
      close();
      next = openBackend(dir, drop);
      return next;
    },
    dispose() {
      close();
      if (next) next.dispose();
      else drop();
    },
  };
}

storeSuite("sqlite", () => {
  const at = temporary();
  return openBackend(at.dir, () => at[Symbol.dispose]());
});

const bytes = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

test("T62 store: files are created for their owner only, and a directory that others may enter is refused", () => {
  using at = temporary();
  const backend = openBackend(at.dir, () => {});
  const modes = [at.dir, ...readdirSync(at.dir, { recursive: true }).map((name) => join(at.dir, String(name)))].map(
    (path) => statSync(path).mode & 0o077,
  );
  expect(new Set(modes)).toEqual(new Set([0]));
  backend.dispose();
  for (const mode of [0o755, 0o710, 0o701]) {
    chmodSync(at.dir, mode);
    expect(() => prepareStateDir(at.dir)).toThrow(`chmod 0700 ${at.dir}`);
  }
  const before = process.umask(0o377);
  try {
    prepareStateDir(join(at.dir, "new"));
  } finally {
    process.umask(before);
  }
  expect(statSync(join(at.dir, "new")).mode & 0o777).toBe(0o700);
});

test("store: a lock that fails for a reason other than permissions reports that reason", () => {
  using at = temporary();
  mkdirSync(join(at.dir, "audit/main.lock"));
  expect(() => openFreeChain(at.home, ["main"])).toThrow(/EISDIR/);
});

test("store: closing leaves one file and no write-ahead log", () => {
  using at = temporary();
  const backend = openBackend(at.dir, () => {});
  backend.chain.append(rowsOf([{}]));
  backend.reader.page("main", 1, 1);
  backend.dispose();
  expect(readdirSync(join(at.dir, "audit"))).toEqual(["main.db"]);
});

test.each(["salt", "value"])("store: the value of a pseudonym is gone once its %s was erased", (column) => {
  using at = temporary();
  const backend = openBackend(at.dir, () => {});
  backend.chain.append(rowsOf([{}]), [{ id: "~x", salt: new Uint8Array(32), value: "192.0.2.1" }]);
  const other = new Database(at.main);
  other.run(`UPDATE subject SET ${column} = NULL`);
  other.close(true);
  expect(backend.reader.subject("main", "~x")).toBeNull();
  backend.dispose();
});

test.each(["salt", "body"])("store: a payload whose %s was erased is not returned", (column) => {
  using at = temporary();
  const backend = openBackend(at.dir, () => {});
  const payload = { part: "args", salt: new Uint8Array(32), body: "{}" } as const;
  backend.chain.append(rowsOf([{}, {}]).map((row) => ({ ...row, payload })));
  using other = new Database(at.main);
  other.run(`UPDATE audit SET ${column} = NULL WHERE seq = 1`);
  expect(backend.reader.payloads("main", 1, 2)).toEqual([{ seq: 2, ...payload }]);
  backend.dispose();
});

for (const name of ["audit/main.db", "mcpgw.db"]) {
  test(`T57 store: ${name} of a newer mcpgw is refused and left unchanged`, () => {
    using at = temporary();
    const path = join(at.dir, name);
    const db = new Database(path);
    db.run("PRAGMA user_version = 99");
    db.close(true);
    const open = () => (name === "mcpgw.db" ? openState(at.dir) : openChain(path));
    expect(open).toThrow(StoreFailed);
    expect(open).toThrow(/schema 99.*newer version/);
    using reader = openReader(at.home);
    const read = () => (name === "mcpgw.db" ? readUsage(path, {}) : reader.last("main"));
    expect(read).toThrow(/schema 99.*newer version/);
  });
}

test("P5 store: a failed sync keeps its kind when the file is named, so the process ends and does not retry", () => {
  const failing = () =>
    withPath("/a/log.db", () => {
      throw new StoreUnsynced("EIO");
    });
  expect(failing).toThrow(StoreUnsynced);
  expect(failing).toThrow("/a/log.db: EIO");
});

test("T06 store: a locked database is busy at once, not after a wait", () => {
  using at = temporary();
  using chain = openChain(at.main);
  const other = new Database(at.main);
  other.run("BEGIN IMMEDIATE");
  const append = () => expect(() => chain.append(rowsOf([{}]))).toThrow(StoreBusy);
  const waits = Array.from({ length: 5 }, () => {
    const from = performance.now();
    append();
    return performance.now() - from;
  });
  expect(Math.min(...waits)).toBeLessThan(20);
  other.run("COMMIT");
  chain.append(rowsOf([{}]));
  other.close(true);
});

test("T07 store: a key, a revocation or a freeze is refused if a restart would not find it", () => {
  using at = temporary();
  const file = join(at.dir, "mcpgw.db");
  const { state, dispose } = openBackend(at.dir, () => {});
  const acts = [
    () => state.addKey(storedKey({ id: "k-1", hash: "00" })),
    () => state.revokeKey("k-1", 1),
    () => state.addTombstone("k-2", 1),
    () => state.setFrozen(true),
  ];
  renameSync(file, `${file}.old`);
  for (const act of acts) expect(act).toThrow(`${file}: deleted while in use`);
  copyFileSync(`${file}.old`, file);
  for (const act of acts) expect(act).toThrow(`${file} was replaced while in use`);
  renameSync(`${file}.old`, file);
  for (const act of acts) act();
  dispose();
});

test("D15 T48 store: one writer per chain; embedded gateways take the first free one", () => {
  using at = temporary();
  const main = openFreeChain(at.home, ["main"]);
  expect(main?.chain).toBe("main");
  expect(openFreeChain(at.home, ["main"])).toBeNull();
  const taken = embeddedChains.map(() => openFreeChain(at.home, embeddedChains));
  expect(taken.map((opened) => opened?.chain)).toEqual([
    "serve-1",
    "serve-2",
    "serve-3",
    "serve-4",
    "serve-5",
    "serve-6",
    "serve-7",
    "serve-8",
  ]);
  expect(openFreeChain(at.home, embeddedChains)).toBeNull();
  taken[2]?.[Symbol.dispose]();
  const again = openFreeChain(at.home, embeddedChains);
  expect(again?.chain).toBe("serve-3");
  for (const opened of [main, again, ...taken.toSpliced(2, 1)]) opened?.[Symbol.dispose]();
  using reader = openReader(at.home);
  expect(reader.chains()).toHaveLength(9);
});

test("T48 store: a log outside the state directory has only one writer, whatever the state directory, and no lock stays held after a failure", () => {
  using at = temporary();
  using copy = temporary();
  const main = join(at.dir, "..", "elsewhere.db");
  const first = openFreeChain({ state: at.dir, main }, ["main"]);
  expect(first?.chain).toBe("main");
  expect(openFreeChain({ state: copy.dir, main }, ["main"])).toBeNull();
  first?.[Symbol.dispose]();
  const inState = tryLock(join(at.dir, "audit", "main.lock"));
  expect(openFreeChain({ state: at.dir, main }, ["main"])).toBeNull();
  inState?.[Symbol.dispose]();
  using second = openFreeChain({ state: copy.dir, main }, ["main"]);
  expect(second?.chain).toBe("main");
});

test("T07 store: a reader answers from the existing files and does not touch those of a writer", () => {
  using at = temporary();
  const [path, copy] = [chainPath(at.home, "serve-1"), join(at.dir, "copy.db")];
  const closed = (records: number) => {
    using chain = openChain(path);
    chain.append(rowsOf(Array.from({ length: records }, () => ({}))));
  };
  const lose = () => {
    for (const end of ["", "-wal", "-shm"]) rmSync(path + end, { force: true });
  };
  closed(2);
  renameSync(path, copy);
  closed(5);
  using reader = openReader(at.home);
  expect(reader.last("serve-1")?.seq).toBe(5);
  lose();
  renameSync(copy, path);
  const writer = openChain(path);
  writer.append(rowsOf([{}], 3));
  expect(reader.last("serve-1")?.seq).toBe(3);
  expect(reader.find({}).rows).toHaveLength(3);
  expect(writer.fault()).toBeNull();
  writer[Symbol.dispose]();
  lose();
  expect(reader.chains()).toEqual([]);
  expect(() => reader.last("serve-1")).toThrow(path);
  closed(1);
  expect(reader.last("serve-1")?.seq).toBe(1);
  // As if only the log was removed, and with it everything that the database does not have yet.
  const again = openChain(path);
  again.append(rowsOf([{}], 2));
  again[Symbol.dispose]();
  expect(reader.last("serve-1")?.seq).toBe(2);
  for (const end of ["-wal", "-shm"]) rmSync(path + end);
  expect(reader.last("serve-1")?.seq).toBe(1);
  writeFileSync(path, "rubbish");
  expect(() => reader.find({})).toThrow(path);
});

test("T07 store: a chain reports what happened to its files, and when it can no longer be synced", async () => {
  using at = temporary();
  const path = at.main;
  const [log, away] = [`${path}-wal`, `${path}-away`];
  const chain = openChain(path);
  expect(chain.fault()).toBeNull();
  chmodSync(path, 0o400);
  expect(chain.fault()).toBe(`${path}: its owner may no longer read and write it`);
  chmodSync(path, 0o600);
  renameSync(log, away);
  expect(chain.fault()).toBe(`${log}: deleted while in use`);
  copyFileSync(away, log);
  expect(chain.fault()).toBe(`${log} was replaced while in use`);
  renameSync(away, log);
  expect(chain.fault()).toBeNull();
  chain[Symbol.dispose]();
  expect(await chain.sync().catch((error: unknown) => error)).toBeInstanceOf(StoreUnsynced);
});

test("T48 store: with a log outside the state directory, the other chains inside still count, but not the one named main", () => {
  using at = temporary();
  const outside = join(at.dir, "..", "outside.db");
  for (const chain of ["main", "serve-1"]) openChain(chainPath(at.home, chain))[Symbol.dispose]();
  using reader = openReader({ state: at.dir, main: outside });
  expect(reader.chains()).toEqual(["serve-1"]);
  using chain = openChain(chainPath({ state: at.dir, main: outside }, "main"));
  chain.append(rowsOf([{}]));
  expect(reader.chains()).toEqual(["main", "serve-1"]);
  expect([reader.last("main")?.seq, reader.last("serve-1")]).toEqual([1, null]);
});

test("A16 store: an index deleted after a kill starts empty, not with the log that the kill left", () => {
  using at = temporary();
  const path = join(at.dir, "index.db");
  const [first, last] = rowsOf([{}, {}]);
  if (!first || !last) throw new Error("there are two rows");
  const index = openIndexWriter(path);
  index.add("main", first, []);
  copyFileSync(`${path}-wal`, `${path}-kept`);
  index[Symbol.dispose]();
  rmSync(path);
  renameSync(`${path}-kept`, `${path}-wal`);
  using anew = openIndexWriter(path);
  expect(anew.mark("main")).toBeNull();
  anew.add("main", last, []);
  expect(anew.mark("main")?.seq).toBe(last.seq);
});

test("D8 store: the log is copied and restarted while the writer continues, and is truncated at the end", () => {
  using at = temporary();
  const path = at.main;
  using chain = openChain(path);
  using checkpointer = openWalCheckpointer(path, { copy: 64 << 10, restart: 256 << 10, truncate: 8 << 20 });
  const reason = "x".repeat(4000);
  let longest = 0;
  for (let seq = 1; seq <= 2000; seq += 1) {
    chain.append(rowsOf([{ reason }], seq));
    if (seq % 10 === 0) checkpointer.run();
    longest = Math.max(longest, bytes(`${path}-wal`));
  }
  expect(bytes(path)).toBeGreaterThan(4 << 20);
  expect(longest).toBeLessThan(1 << 20);
  checkpointer.finish();
  expect(bytes(`${path}-wal`)).toBe(0);
  using reader = openReader(at.home);
  expect(reader.last("main")?.seq).toBe(2000);
  expect(reader.integrity("main")).toBeNull();
});

test("D8 store: the writer copies nothing; a long log is truncated, but without waiting for readers", () => {
  using at = temporary();
  const path = at.main;
  using chain = openChain(path);
  using checkpointer = openWalCheckpointer(path, { copy: 0, restart: 0, truncate: 1 << 20 });
  for (let seq = 1; seq <= 1_200; seq++) chain.append(rowsOf([{ reason: "x".repeat(4000) }], seq));
  expect(bytes(path)).toBeLessThan(1 << 20);
  using snapshot = new Database(path, { readonly: true });
  snapshot.run("BEGIN");
  snapshot.query("SELECT count(*) FROM audit").get();
  // All except the first have nothing to copy.
  const took = Array.from({ length: 3 }, () => {
    const from = performance.now();
    checkpointer.run();
    return performance.now() - from;
  });
  expect(Math.min(...took)).toBeLessThan(900);
  snapshot.run("COMMIT");
  checkpointer.run();
  expect(bytes(`${path}-wal`)).toBe(0);
});

test("store: an `mcpgw.db` that is not a database is refused with a remedy", () => {
  using at = temporary();
  writeFileSync(join(at.dir, "mcpgw.db"), "no database".repeat(1_000));
  expect(() => openState(at.dir)).toThrow(
    /mcpgw\.db: .*kernel log .*restore a backup of the file or move the file away/,
  );
});

/** Locks a database exclusively until told to release it, like a process that opens it first or closes it last. */
const holder = `
  const db = new (require("bun:sqlite").Database)(process.argv[1]);
  db.run("PRAGMA locking_mode = EXCLUSIVE");
  db.run("PRAGMA application_id = 9");
  process.stdout.write("held\\n");
  process.stdin.once("data", () => db.close(true));
`;

test.each([openWalCheckpointer, openChain])(
  "D8 store: opening waits while another connection opens or closes the database: %p",
  async (open) => {
    using at = temporary();
    const path = at.main;
    openChain(path)[Symbol.dispose]();
    const child = Bun.spawn([process.execPath, "-e", holder, path], { stdin: "pipe", stdout: "pipe" });
    expect((await child.stdout.getReader().read()).done).toBe(false);
    void child.stdin.write("let go");
    void child.stdin.flush();
    open(path)[Symbol.dispose]();
    await child.stdin.end();
    expect(await child.exited).toBe(0);
  },
);

test("R23 store: every change to the rights of keys, and nothing else, changes the version that other processes see", () => {
  using at = temporary();
  using own = openState(at.dir);
  using other = openState(at.dir);
  const changes = (act: () => void): boolean => {
    const before = other.version();
    act();
    return other.version() !== before;
  };
  const key = storedKey({ id: "key-1", hash: "h" });
  expect(changes(() => own.addKey(key))).toBe(true);
  expect(changes(() => own.revokeKey(key.id, 1))).toBe(true);
  expect(changes(() => own.addTombstone("yaml", 1))).toBe(true);
  expect(changes(() => own.setFrozen(true))).toBe(true);
  expect(changes(() => own.saveUses(new Map([[key.id, 1]])))).toBe(false);
});
