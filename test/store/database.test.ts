import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { copyFileSync, lstatSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { embeddedChains, openFreeChain, openState, prepareStateDir } from "../../src/store/open.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { chainNames, chainPath } from "../../src/store/sqlite/paths.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { rowsOf } from "../suites/store.ts";
import { ended, moduleAt, noStrace, strace, traced } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";
import { canMount, mountTmpfs } from "../support/tmpfs.ts";

/** Runs this code with the store's functions, under a command such as strace. */
const run = (code: string, ...below: string[]) =>
  ended(Bun.spawn([...below, process.execPath, "-e", code], { stdout: "pipe", stderr: "pipe", timeout: 10_000 }));

test.skipIf(noStrace)(
  "T07 P5 store: a freeze is on stable storage before it is confirmed, and a failure to sync it is reported (needs strace)",
  async () => {
    using at = new TempDir();
    openState(at.dir)[Symbol.dispose]();
    const freeze = `
      import { openState } from ${moduleAt("store/open.ts")};
      const store = openState(${JSON.stringify(at.dir)});
      try {
        store.setFrozen(true);
        console.log("frozen");
      } catch (error) {
        console.log(error.constructor.name, error.message);
      }`;
    const failing = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO"];
    const { stdout } = await run(freeze, strace, "-f", "-o", "/dev/null", ...failing);
    expect(stdout).toStartWith(`StoreUnsynced ${at.path("mcpgw.db")}: `);
  },
  30_000,
);

test.skipIf(noStrace)(
  "T02 T07 store: each key change is synced, and so is the directory of a new log (needs strace)",
  async () => {
    using at = new TempDir();
    const program = `
      import { mkdirSync } from "node:fs";
      import { openState } from ${moduleAt("store/open.ts")};
      import { openChain } from ${moduleAt("store/sqlite/chain.ts")};
      mkdirSync(${JSON.stringify(at.path("audit"))});
      openChain(${JSON.stringify(at.path("audit/main.db"))});
      const store = openState(${JSON.stringify(at.dir)});
      for (let n = 0; n < 10; n++) store.setFrozen(n % 2 === 0);`;
    const synced = [...(await traced("fsync", program)).matchAll(/fsync\(\d+<([^>]*)>/g)].map(([, path]) => path);
    expect(synced.filter((path) => path === at.path("mcpgw.db-wal")).length).toBeGreaterThanOrEqual(10);
    expect(synced).toContain(at.path("audit"));
  },
  30_000,
);

test("T07 store: a named pipe in place of a database is refused instead of waited for", async () => {
  using at = new TempDir();
  Bun.spawnSync(["mkfifo", at.path("x.db")]);
  const open = `
    import { openReadable } from ${moduleAt("store/sqlite/database.ts")};
    openReadable(${JSON.stringify(at.path("x.db"))}, 0);`;
  expect(await run(open)).toMatchObject({ code: 1, stderr: expect.stringContaining("is not a regular file") });
});

test.skipIf(!canMount())(
  "T07 store: records in a write-ahead log are read even on a read-only file system (needs a tmpfs)",
  () => {
    using disk = mountTmpfs("8m");
    if (!disk) throw new Error("it could be mounted just now");
    mkdirSync(join(disk.dir, "audit"));
    const home = { state: disk.dir, main: null };
    const [from, to] = [chainPath(home, "main"), chainPath(home, "serve-1")];
    {
      using chain = openChain(from);
      chain.append(rowsOf([{}, {}, {}]));
      // The state after a kill: the records are only in the log.
      for (const end of ["", "-wal"]) copyFileSync(from + end, to + end);
    }
    Bun.spawnSync(["mount", "-o", "remount,ro", disk.dir]);
    using reader = openReader(home);
    expect(reader.last("main")?.seq).toBe(3);
    expect(() => reader.last("serve-1")).toThrow("SQLITE");
  },
);

test.skipIf(process.platform !== "linux")(
  "R11 T26 store: an unusable database is not kept open, however often it is tried (needs Linux)",
  () => {
    using at = new TempDir();
    prepareStateDir(at.dir);
    writeFileSync(at.path("audit/rubbish.db"), "rubbish".repeat(1000));
    {
      using newer = new Database(at.path("audit/newer.db"));
      newer.run("PRAGMA user_version = 999");
    }
    using reader = openReader({ state: at.dir, main: null });
    for (let round = 0; round < 3; round++) {
      expect(() => reader.last("rubbish")).toThrow("SQLITE_NOTADB");
      expect(() => reader.last("newer")).toThrow("schema 999");
      expect(() => openChain(at.path("audit/rubbish.db"))).toThrow("SQLITE_NOTADB");
    }
    const fds = readdirSync("/proc/self/fd").map((fd) => `/proc/self/fd/${fd}`);
    const there = fds.filter((fd) => lstatSync(fd, { throwIfNoEntry: false }));
    const open = there.map((fd) => readlinkSync(fd, { encoding: "utf8" })).filter((file) => file.startsWith(at.dir));
    expect(open).toEqual([]);
  },
);

test("D15 store: the daemon's log may have any unused name among the other chains, and counts as one chain there", () => {
  using at = new TempDir();
  prepareStateDir(at.dir);
  const home = { state: at.dir, main: at.path("audit/gateway.db") };
  {
    using opened = openFreeChain(home, ["main"]);
    expect(opened?.chain).toBe("main");
    using other = openFreeChain(home, embeddedChains);
    expect(other?.chain).toBe("serve-1");
  }
  expect(chainNames(home)).toEqual(["main", "serve-1"]);
  for (const taken of ["audit/serve-1.db", "audit/serve-8.db", "index.db", "mcpgw.db"]) {
    for (const chains of [["main"], embeddedChains]) {
      expect(() => openFreeChain({ ...home, main: at.path(taken) }, chains)).toThrow(`${taken} is the path of another`);
    }
  }
});
