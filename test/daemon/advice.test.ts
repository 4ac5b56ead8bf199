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
import { basename, dirname, join } from "node:path";
import { outsideOf } from "../support/audit.ts";
import { daemonCommand, fake, Place } from "../support/daemon.ts";
import { asNobody, mayBecomeNobody } from "../support/processes.ts";
import { mayMount, mountTmpfs } from "../support/tmpfs.ts";

// What a refusal advises is done to the letter, once, and helps.

// Each command is a process; on a busy machine that takes its time.
setDefaultTimeout(30_000);

/** Moves away every file of the place that a text names, each with its log; returns their names. */
function moveAway(place: Place, text: string): string[] {
  const kept = join(place.dir, "evidence");
  mkdirSync(kept, { recursive: true });
  const named = new Set(text.match(/\/[^\s,;]+\.(?:head|checkpoints|db)\b/g));
  for (const file of [...named].flatMap((path) => [path, `${path}-wal`]).filter((path) => existsSync(path))) {
    renameSync(file, join(kept, basename(file)));
  }
  return [...named].map((path) => basename(path)).sort();
}

test("T08 a start from an old copy names every file that knows more; with those away it starts", async () => {
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

test("T08 a start from a copy that went on elsewhere names the checkpoints of the other log too; with those away it is proven", async () => {
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
  // The copy goes on for longer, where it knows nothing of the log here.
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
  expect([code, stderr]).toEqual([1, expect.stringContaining("notes another record")]);
  expect(moveAway(place, stderr)).toEqual(["elsewhere.checkpoints", "main.checkpoints", "main.head"]);
  await (await place.start())[Symbol.asyncDispose]();
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
});

test("T08 where the head note is damaged, start, audit verify and keys list say what helps; with it away they go on", async () => {
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
  // The checkpoints beside it are compared all the same.
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
  await using _daemon = await place.start();
});

test.each([
  ["from its first byte", 0, "SQLITE_NOTADB"],
  ["behind the list of its tables", 4096, "SQLITE_CORRUPT"],
])(
  "T08 where mcpgw.db is damaged %s, all that reads it says what helps; with it away a freeze holds",
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
      expect(ran.stderr).toMatch(
        new RegExp(`${RegExp.escape(path)}: [^;]+ \\(${code}\\w*\\); unless [^;]+ stop the gateway, then`),
      );
      said = ran.stderr;
    }
    expect(moveAway(place, said)).toEqual(["mcpgw.db"]);
    await using daemon = await place.start();
    expect(daemon.log).toContainEqual(expect.objectContaining({ msg: expect.stringContaining("mcpgw.db is new") }));
    expect(await place.json("status")).toMatchObject({ frozen: true });
    expect(await place.cli(["usage"])).toMatchObject({ code: 0 });
  },
);

test.each([
  ["from its first byte", 0, "SQLITE_NOTADB"],
  ["behind the list of its tables", 4096, "SQLITE_CORRUPT"],
])(
  "T08 where the log is damaged %s, a start says what helps; with all that is named away it starts",
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
    expect(said).toMatch(
      new RegExp(`${RegExp.escape(path)}: [^;]+ \\(${code}\\w*\\); unless [^;]+ stop the gateway, then`),
    );
    expect(moveAway(place, said)).toEqual(["main.db"]);
    expect(moveAway(place, await refused())).toEqual(["main.checkpoints", "main.head"]);
    await using _daemon = await place.start();
    expect(await place.json("keys", "list")).toMatchObject({ keys: [{ consumerId: "agent" }] });
  },
);

test("R9 A03 A14 where the signing key is missing none is made: what was begun with it is named, and with that away it starts", async () => {
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
  // Without the state directory the log alone is in the way, without that the store, which knows of it.
  for (const [away, left] of [
    [place.state, log],
    [log, join(place.state, "mcpgw.db")],
  ] as const) {
    renameSync(away, `${away}.kept`);
    expect(await refused()).toContain(`begun with it: ${left}. `);
    rmSync(away, { recursive: true, force: true });
    renameSync(`${away}.kept`, away);
  }
  expect(moveAway(place, await refused())).toEqual(["log.db", "mcpgw.db"]);
  await using _daemon = await place.start();
  expect(existsSync(key)).toBe(true);
});

test.skipIf(process.getuid?.() !== 0)(
  "T62 whoever is not the owner of the state directory is told to be, not to take it over (needs root)",
  async () => {
    using place = new Place({ servers: [], policies: [] });
    await place.newKey("agent");
    chownSync(place.state, 993, 993);
    const { code, stderr } = await place.cli(["keys", "create", "B", "agent", "user"]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining(`${place.state} belongs to uid 993, and this is uid 0`),
    ]);
    // The other user's default would be another state directory.
    expect(stderr).toContain(`sudo -u '#993' mcpgw --state ${place.state} …`);
    expect(stderr).not.toContain("chown");
    // Nor is anything left there that its owner could not use.
    rmSync(join(place.state, "audit"), { recursive: true });
    expect(await place.cli(["keys", "create", "B", "agent", "user"])).toMatchObject({ code: 1 });
    expect(existsSync(join(place.state, "audit"))).toBe(false);
  },
);

test("R9 A14 a log whose signing key is lost is checked as audit verify says: an export, by what was kept elsewhere", async () => {
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

test("R17 T62 a start whose directories cannot be made names who tried, which, and what to do", async () => {
  using place = new Place({ servers: [], policies: [] });
  // Nobody can make a directory below a file.
  const within = (name: string): string => join(place.config, name);
  const start = async (...flags: string[]): Promise<string> => {
    place.flags = () => ["--config", place.config, ...flags];
    return (await place.cli(daemonCommand)).stderr;
  };
  const who = `uid ${process.getuid?.()} cannot make or enter`;
  const state = await start("--state", within("state"));
  expect(state).toContain(
    `${who} ${within("state")} (ENOTDIR); a part of that path is no directory, or name another with --state`,
  );
  const socket = await start("--state", place.state, "--socket", within("run/control.sock"));
  expect(socket).toContain(`control socket ${within("run/control.sock")}: ${who} ${within("run")} (ENOTDIR); `);
  expect(socket).toContain("or name another with --socket");
});

test.skipIf(!mayMount())("a start whose directory has no room on its disk says so (needs mount as root)", async () => {
  using place = new Place({ servers: [], policies: [] });
  // Its own directory takes the one inode.
  using disk = mountTmpfs("1m,nr_inodes=1");
  const state = join(disk?.dir ?? "", "state");
  place.flags = () => ["--config", place.config, "--state", state];
  const { code, stderr } = await place.cli(daemonCommand);
  const said = `${state} (ENOSPC); its disk is full: make room, or name another with --state`;
  expect([code, stderr]).toEqual([1, expect.stringContaining(said)]);
});

test.skipIf(!mayMount())(
  "what cannot be written on a read-only disk is told with that (needs mount as root)",
  async () => {
    using place = new Place({ servers: [fake("a")], policies: [] });
    using disk = mountTmpfs("1m");
    const [file, state] = [join(disk?.dir ?? "", "gateway.yaml"), join(disk?.dir ?? "", "state")];
    writeFileSync(file, readFileSync(place.config));
    mkdirSync(state, { mode: 0o700 });
    expect(Bun.spawnSync(["mount", "-o", "remount,ro", disk?.dir ?? ""]).exitCode).toBe(0);
    place.flags = () => ["--config", file, "--state", state];
    const why = "(EROFS); its disk is read-only for this process";
    for (const [args, said] of [
      [daemonCommand, `make or enter ${join(state, "audit")} ${why}, or name another with --state`],
      [["servers", "disable", "a"], `write ${file} ${why}`],
    ] as const) {
      const { code, stderr } = await place.cli(args);
      expect([code, stderr]).toEqual([1, expect.stringContaining(`uid ${process.getuid?.()} cannot ${said}`)]);
    }
  },
);

test.skipIf(!mayBecomeNobody)(
  "R17 T62 a start that may not read or write a file names who tried and whose it is (needs setpriv as root)",
  async () => {
    using place = new Place("");
    chownSync(place.dir, 65534, 65534);
    place.prefix = asNobody;
    const [secret, cert] = [join(place.dir, "secret"), join(place.dir, "cert.pem")];
    for (const file of [secret, cert]) writeFileSync(file, "not for everybody", { mode: 0o600 });
    const elsewhere = join(place.dir, "elsewhere");
    mkdirSync(elsewhere, { mode: 0o755 });
    const unreadable = "uid 65534 may not read it (EACCES): it belongs to uid 0, gid 0, mode 0600";
    const run = async (args: string[], config: unknown, mode = 0o644) => {
      place.configure(config);
      chmodSync(place.config, mode);
      return place.cli(args);
    };
    const start = async (config: unknown, mode?: number): Promise<string> => {
      const { code, stderr } = await run(daemonCommand, config, mode);
      expect(code).not.toBe(0);
      return stderr;
    };
    expect(await start({}, 0o600)).toContain(`${place.config}: ${unreadable}; let its group read it`);
    const headers = { token: `$\{file:${secret}}` };
    const servers = [{ id: "crm", url: "https://crm.example/mcp", headers }];
    expect(await start({ servers })).toContain(`cannot read ${secret}: ${unreadable}`);
    for (const args of [daemonCommand, ["config", "check"]]) {
      const { code, stderr } = await run(args, { listen: { tls: { cert, key: "cert.pem" } } });
      expect(code).toBe(2);
      for (const option of ["cert", "key"])
        expect(stderr).toMatch(
          new RegExp(`${place.config}:\\d+:\\d+: listen.tls.${option}: ${RegExp.escape(unreadable)}; let`),
        );
    }
    const log = join(elsewhere, "log.db");
    expect(await start({ audit: { path: log } })).toContain(`uid 65534 may not write in ${elsewhere}; give it the`);
  },
);

test("R39 config check warns of checkpoints beside the key that signs them", async () => {
  const checkpoints = ["kept.cp", "state/kept.cp", "state-kept.cp"].map((file) => ({ file }));
  using place = new Place({ audit: { checkpoints }, servers: [] });
  const { stderr } = await place.cli(["config", "check"]);
  expect(stderr).toContain(
    `audit.checkpoints[1].file: ${place.path("state/kept.cp")} is in the state directory; whoever`,
  );
  expect(stderr).not.toMatch(/audit\.checkpoints\[[02]\]/);
  // In the order of the file, as all that is told of it.
  expect(stderr.indexOf("servers: no server is in use")).toBeGreaterThan(stderr.indexOf("audit.checkpoints[1]"));
});

test("R17 config check outside of the unit says what stands in for systemd's credentials, and that does", async () => {
  const headers = { authorization: "Bearer ${credential:crm-token}" };
  using place = new Place({ servers: [{ id: "crm", url: "https://crm.example/mcp", headers }] });
  const { code, stderr } = await place.cli(["config", "check"]);
  const advised =
    "under systemd add LoadCredential=crm-token:PATH to the unit, in a shell run with CREDENTIALS_DIRECTORY=DIR";
  expect([code, stderr]).toEqual([2, expect.stringContaining(`no systemd credentials directory; ${advised}`)]);
  writeFileSync(join(place.dir, "crm-token"), "a-long-enough-token");
  const env = { CREDENTIALS_DIRECTORY: place.dir };
  expect(await place.cli(["config", "check"], { env })).toMatchObject({ code: 0 });
});

test("a start at an address that cannot be listened at says why", async () => {
  // Of a network for documentation (RFC 5737): no machine has it.
  using place = new Place({ listen: { http: "192.0.2.1:27399", behindTlsProxy: true } });
  const { code, stderr } = await place.cli(["daemon"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("192.0.2.1:27399: this machine has no such address")]);
});

test.skipIf(!mayBecomeNobody)("a start at a port for root alone says what to do (needs setpriv as root)", async () => {
  using place = new Place({ listen: { http: "127.0.0.1:443" } });
  place.becomeNobody();
  const { code, stderr } = await place.cli(["daemon"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("127.0.0.1:443: this user may not take the port; ")]);
});

test.skipIf(!mayBecomeNobody)(
  "a home in which heads cannot be kept is named, with what to do (needs setpriv as root)",
  async () => {
    using place = new Place({ servers: [], policies: [] });
    place.becomeNobody();
    const home = place.path("home");
    const heads = join(home, ".local/state/mcpgw-heads");
    const begin = async (prepare: () => void): Promise<string> => {
      rmSync(home, { recursive: true, force: true });
      prepare();
      const env = { STATE_DIRECTORY: "", HOME: home };
      const { code, stderr } = await place.cli(["keys", "create", "A", "agent", "user"], { env });
      expect(code).toBe(1);
      expect(stderr).toContain(`uid 65534 may not make or write to ${heads}, for what is kept outside the state`);
      expect(stderr).toContain("or set XDG_STATE_HOME to");
      return stderr;
    };
    await begin(() => mkdirSync(home, { mode: 0o755 }));
    await begin(() => mkdirSync(heads, { recursive: true, mode: 0o755 }));
    await begin(() => mkdirSync(heads, { recursive: true, mode: 0o700 }));
    const inTheWay = await begin(() => {
      mkdirSync(dirname(heads), { recursive: true });
      writeFileSync(heads, "");
    });
    expect(inTheWay).toContain("move away what is in its place");
  },
);

test.skipIf(!mayBecomeNobody)(
  "T62 a database that is another user's, or what SQLite keeps beside it, is named with whose it is (needs setpriv as root)",
  async () => {
    using place = new Place({ servers: [], policies: [] });
    place.becomeNobody();
    await place.newKey("agent");
    const log = join(place.state, "audit/main.db");
    for (const file of [`${log}-wal`, log]) {
      if (!existsSync(file)) writeFileSync(file, "");
      chownSync(file, 0, 0);
      chmodSync(file, 0o600);
      for (const words of ["keys freeze", "audit verify", "daemon --listen 127.0.0.1:0"]) {
        const { code, stdout, stderr } = await place.cli(words.split(" "));
        expect(code).not.toBe(0);
        expect(stdout + stderr).toContain(`${file}: uid 65534 may not use it: it belongs to uid 0, gid 0, mode 0600`);
      }
    }
    // One that may be read, but not written.
    chownSync(`${log}-wal`, 65534, 65534);
    chmodSync(log, 0o644);
    const { code, stderr } = await place.cli(["keys", "freeze"]);
    expect(code).not.toBe(0);
    expect(stderr).toContain(`${log}: uid 65534 may not use it: it belongs to uid 0, gid 0, mode 0644`);
  },
);

test("R9 a command without a daemon says what is wrong with the log that it goes on from", async () => {
  using place = new Place({ servers: [], policies: [] });
  await place.newKey("agent");
  rmSync(place.heads, { recursive: true });
  const create = () => place.cli(["keys", "create", "B", "agent", "user"]);
  const warning = "mcpgw: warning: nothing outside the state directory knows this log, ";
  expect((await create()).stderr).toContain(warning);
  expect((await create()).stderr).not.toContain(warning);
});
