import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { daemonCommand, fake, Place } from "../support/daemon.ts";
import { asNobody, canBecomeNobody } from "../support/processes.ts";
import { canMount, mountTmpfs } from "../support/tmpfs.ts";

// Follows the advice of a refusal to the letter, once, and checks that it helps.

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

test("R17 T62 a daemon that cannot create its directories names the user, the directory and a remedy", async () => {
  using place = new Place({ servers: [], policies: [] });
  // A directory cannot be created below a file, even by root.
  const within = (name: string): string => join(place.config, name);
  const start = async (...flags: string[]): Promise<string> => {
    place.flags = () => ["--config", place.config, ...flags];
    return (await place.cli(daemonCommand)).stderr;
  };
  const who = `uid ${process.getuid?.()} cannot create or open`;
  const state = await start("--state", within("state"));
  expect(state).toContain(
    `${who} ${within("state")} (ENOTDIR); a component of that path is not a directory; name another with --state`,
  );
  const socket = await start("--state", place.state, "--socket", within("run/control.sock"));
  expect(socket).toContain(`control socket ${within("run/control.sock")}: ${who} ${within("run")} (ENOTDIR); `);
  expect(socket).toContain("; name another with --socket");
});

test.skipIf(!canMount())(
  "a daemon whose state directory is on a full disk reports it (needs mount as root)",
  async () => {
    using place = new Place({ servers: [], policies: [] });
    // The root directory uses the only inode.
    using disk = mountTmpfs("1m,nr_inodes=1");
    const state = join(disk?.dir ?? "", "state");
    place.flags = () => ["--config", place.config, "--state", state];
    const { code, stderr } = await place.cli(daemonCommand);
    const said = `${state} (ENOSPC); the disk is full; free some space, or name another with --state`;
    expect([code, stderr]).toEqual([1, expect.stringContaining(said)]);
  },
);

test.skipIf(!canMount())(
  "a daemon whose state directory is on a read-only disk reports it (needs mount as root)",
  async () => {
    using place = new Place({ servers: [fake("a")], policies: [] });
    using disk = mountTmpfs("1m");
    const [file, state] = [join(disk?.dir ?? "", "gateway.yaml"), join(disk?.dir ?? "", "state")];
    writeFileSync(file, readFileSync(place.config));
    mkdirSync(state, { mode: 0o700 });
    expect(Bun.spawnSync(["mount", "-o", "remount,ro", disk?.dir ?? ""]).exitCode).toBe(0);
    place.flags = () => ["--config", file, "--state", state];
    const why = "(EROFS); the file system is read-only for this process; name another with --state";
    const { code, stderr } = await place.cli(daemonCommand);
    const said = `uid ${process.getuid?.()} cannot create or open ${join(state, "audit")} ${why}`;
    expect([code, stderr]).toEqual([1, expect.stringContaining(said)]);
  },
);

test.skipIf(!canBecomeNobody)(
  "R17 T62 a daemon that may not read or write a file names the user and the file's owner (needs setpriv as root)",
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

test("R39 config check warns about checkpoints stored next to the key that signs them", async () => {
  const checkpoints = ["kept.cp", "state/kept.cp", "state-kept.cp"].map((file) => ({ file }));
  using place = new Place({ audit: { checkpoints }, servers: [] });
  const { stderr } = await place.cli(["config", "check"]);
  expect(stderr).toContain(
    `audit.checkpoints[1].file: ${place.path("state/kept.cp")} is in the state directory; anyone`,
  );
  expect(stderr).not.toMatch(/audit\.checkpoints\[[02]\]/);
  // Warnings are listed in the order of the file.
  expect(stderr.indexOf("servers: no server is enabled")).toBeGreaterThan(stderr.indexOf("audit.checkpoints[1]"));
});

test("R17 config check warns of a program that is not found with the PATH of its server", async () => {
  const [command, path] = ["no-such-program", "./no-such-file"];
  const found = { id: "found", command: "tool", env: { PATH: "bin" } };
  using place = new Place({
    servers: [
      { id: "lost", command },
      { id: "gone", command: path },
      { id: "moved", command: "sh", env: { PATH: "/nowhere" } },
      { id: "off", command, enabled: false },
      found,
    ],
    policies: [],
  });
  mkdirSync(place.path("bin"));
  writeFileSync(place.path("bin/tool"), "", { mode: 0o755 });
  const { code, stderr } = await place.cli(["config", "check"]);
  expect(code).toBe(0);
  const warned = [...stderr.matchAll(/servers\[(\d)\]\.command: program (.*); install/g)];
  expect(warned.map(([, index, what]) => [index, what])).toEqual([
    ["0", `${command} not found in the PATH of this process`],
    ["1", `${path} not found`],
    ["2", "sh not found in the PATH of its env"],
  ]);
});

test("R17 outside the systemd unit, config check says how to supply its credentials, and following the advice works", async () => {
  const headers = { authorization: "Bearer ${credential:crm-token}" };
  using place = new Place({ servers: [{ id: "crm", url: "https://crm.example/mcp", headers }] });
  const { code, stderr } = await place.cli(["config", "check"]);
  const advised =
    "under systemd, add LoadCredential=crm-token:PATH to the unit; in a shell, run with CREDENTIALS_DIRECTORY=DIR";
  expect([code, stderr]).toEqual([2, expect.stringContaining(`no systemd credentials directory; ${advised}`)]);
  writeFileSync(join(place.dir, "crm-token"), "a-long-enough-token");
  const env = { CREDENTIALS_DIRECTORY: place.dir };
  expect(await place.cli(["config", "check"], { env })).toMatchObject({ code: 0 });
});

test("a daemon that cannot listen on its address says why", async () => {
  // An address reserved for documentation (RFC 5737), which no machine has.
  using place = new Place({ listen: { http: "192.0.2.1:27399", behindTlsProxy: true } });
  const { code, stderr } = await place.cli(["daemon"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("192.0.2.1:27399: this machine has no such address")]);
});

test.skipIf(!canBecomeNobody)(
  "a daemon that may not bind to a privileged port says what to do (needs setpriv as root)",
  async () => {
    using place = new Place({ listen: { http: "127.0.0.1:443" } });
    place.becomeNobody();
    const { code, stderr } = await place.cli(["daemon"]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("127.0.0.1:443: this user may not bind to the port; ")]);
  },
);

test.skipIf(!canBecomeNobody)(
  "a home directory in which head notes cannot be stored is named, with a remedy (needs setpriv as root)",
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
      expect(stderr).toContain(`uid 65534 cannot create or open ${heads}, which holds what is kept outside the state`);
      expect(stderr).toContain(" set XDG_STATE_HOME to a directory of its own");
      return stderr;
    };
    await begin(() => mkdirSync(home, { mode: 0o755 }));
    await begin(() => mkdirSync(heads, { recursive: true, mode: 0o755 }));
    await begin(() => mkdirSync(heads, { recursive: true, mode: 0o700 }));
    const inTheWay = await begin(() => {
      mkdirSync(dirname(heads), { recursive: true });
      writeFileSync(heads, "");
    });
    expect(inTheWay).toContain("(ENOTDIR); a component of that path is not a directory; set XDG_STATE_HOME");
    const linked = await begin(() => {
      mkdirSync(dirname(heads), { recursive: true });
      symlinkSync(place.path("nowhere"), heads);
    });
    expect(linked).toContain("(ENOENT); a component of that path is a dangling link; create its target, or set");
  },
);

test.skipIf(!canBecomeNobody)(
  "T62 a database or WAL file that belongs to another user is named with its owner (needs setpriv as root)",
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
    // A database that may be read but not written.
    chownSync(`${log}-wal`, 65534, 65534);
    chmodSync(log, 0o644);
    const { code, stderr } = await place.cli(["keys", "freeze"]);
    expect(code).not.toBe(0);
    expect(stderr).toContain(`${log}: uid 65534 may not use it: it belongs to uid 0, gid 0, mode 0644`);
  },
);
