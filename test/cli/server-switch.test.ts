import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { Cli } from "../../src/cli/cli.ts";
import { setEnabled } from "../../src/cli/server-switch.ts";
import { Refusal, Unreachable } from "../../src/control/refusal.ts";
import { tryLockDirectory } from "../../src/core/libc.ts";
import { TempDir } from "../support/temp-dir.ts";
import { mcpgw } from "../support/mcpgw.ts";
import { asNobody, isRoot, canBecomeNobody } from "../support/processes.ts";
import { bareEnv } from "../support/sample.ts";
import { canMount } from "../support/tmpfs.ts";

// Each command is a process, which can take long on a busy machine.
setDefaultTimeout(30_000);

const ids = ["one", "two", "three", "four", "five", "six"];
const text = `servers:\n${ids.map((id) => `  - { id: ${id}, command: x }\n`).join("")}`;
let at: TempDir;
let file = "";

beforeEach(() => {
  at = new TempDir();
  file = at.path("gateway.yaml");
  writeFileSync(file, text, { mode: 0o640 });
});
afterEach(() => at[Symbol.dispose]());

/** A command line whose daemon, if any, answers a reload with this. */
function cliWith(reload: (() => Promise<unknown>) | null, said: string[] = []): Cli {
  const call = (name: string) => (name === "status" ? Promise.resolve({ config: file }) : reload?.());
  return {
    globals: { config: file, json: false, color: false },
    out: { warn: (line: string) => void said.push(line) },
    open: () => (reload ? Promise.resolve({ call, close() {} }) : Promise.reject(new Unreachable("nobody"))),
  } as unknown as Cli;
}

const disabledIn = (yaml: string): string[] =>
  ids.filter((id) => yaml.includes(`{ id: ${id}, enabled: false, command: x }`));

test("servers that are disabled at the same time are all disabled", async () => {
  const flags = ["--config", file, "--socket", at.path("none.sock")];
  const children = ids.map((id) =>
    Bun.spawn([...mcpgw, "servers", "disable", id, ...flags], {
      env: bareEnv(at.dir),
      stdout: "ignore",
      stderr: "pipe",
    }),
  );
  const ends = children.map(async ({ exited, stderr }) => [await new Response(stderr).text(), await exited]);
  expect(await Promise.all(ends)).toEqual(ids.map(() => [expect.stringContaining("no daemon is running"), 0]));
  expect(disabledIn(readFileSync(file, "utf8"))).toEqual(ids);
});

test("a lock that another process never releases is reported after a bounded wait", async () => {
  const held = tryLockDirectory(at.dir);
  expect(await setEnabled(cliWith(null), "one", false, 200).catch(String)).toContain(
    `another process holds the lock on ${at.dir}`,
  );
  expect(readFileSync(file, "utf8")).toBe(text);
  const waiting = setEnabled(cliWith(null), "one", false);
  held?.[Symbol.dispose]();
  await waiting;
  expect(disabledIn(readFileSync(file, "utf8"))).toEqual(["one"]);
});

test("each reason why a file cannot be edited has its own message", async () => {
  const refused = async (yaml: string): Promise<string> => {
    writeFileSync(file, yaml);
    const said = await setEnabled(cliWith(null), "one", false).then(() => "done", String);
    expect(readFileSync(file, "utf8")).toBe(yaml);
    return said;
  };
  expect(await refused(`${text}log: [\n`)).toContain(`${file}:9:1: `);
  expect(await refused("servers: [{ id: one, id: one, command: x }]")).toContain(
    `${file}:1:22: this key is already set`,
  );
  expect(await refused("")).toContain("the file is empty");
  expect(await refused("servers: [{ id: two, command: x }]")).toContain(`${file} has no server "one"`);
  for (const unclear of [
    "metrics: &on true\nservers: [{ id: one, command: x, enabled: *on }]",
    "a: &a { id: one, command: x }\nservers: [*a]",
    "a: &a [{ id: one, command: x }]\nservers: *a",
    "servers:\n  - id: one\n    enabled:\n    command: x\n",
    "servers:\n  - id: one\n    command: x\n    enabled: # true\n",
    "servers: [{ id: one, enabled, command: x }]",
    "servers: [{ id: one, enabled: , command: x }]",
  ])
    expect(await refused(unclear)).toContain('written with an alias (*name) or an empty "enabled"; edit it yourself');
});

test("a file with Windows line endings keeps them, even if the edited line is the last one", async () => {
  for (const rest of ["", "\r\n    command: x\r\n"]) {
    writeFileSync(file, `servers:\r\n  - id: one # first${rest}`);
    await setEnabled(cliWith(null), "one", false);
    expect(readFileSync(file, "utf8")).toBe(`servers:\r\n  - id: one # first\r\n    enabled: false${rest}`);
  }
});

test("enabling a server that is already enabled leaves the file unchanged, and JSON stays JSON", async () => {
  await setEnabled(cliWith(null), "one", true);
  expect(readFileSync(file, "utf8")).toBe(text);
  writeFileSync(file, '{"servers":[{"id":"one","command":"x"}]}');
  for (const enabled of [false, true]) {
    await setEnabled(cliWith(null), "one", enabled);
    expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({ servers: [{ id: "one", enabled, command: "x" }] });
  }
});

test("an edit that the daemon refuses is undone, but not one that somebody else made in the meantime", async () => {
  const refuse = () => Promise.reject(new Refusal("invalid", "not so"));
  expect(await setEnabled(cliWith(refuse), "one", false).catch(String)).toContain("not so");
  expect(readFileSync(file, "utf8")).toBe(text);
  const said: string[] = [];
  const edited = cliWith(() => {
    writeFileSync(file, "servers: [] # mine\n");
    return refuse();
  }, said);
  expect(await setEnabled(edited, "one", false).catch(String)).toContain("not so");
  expect(readFileSync(file, "utf8")).toBe("servers: [] # mine\n");
  expect(said.join()).toContain("edited by somebody else in the meantime");
});

test("a daemon that starts while the file is being edited loads it again", async () => {
  let reloads = 0;
  const started = cliWith(async () => void reloads++);
  let tries = 0;
  const open: Cli["open"] = (...args) => (tries++ === 0 ? cliWith(null) : started).open(...args);
  expect(await setEnabled({ ...started, open }, "one", false)).toEqual({ file, reloaded: true });
  expect([tries, reloads]).toEqual([2, 1]);
});

test("the daemon's file is edited, and for a link its target", async () => {
  const found = at.path("found.yaml");
  mkdirSync(at.path("real"));
  renameSync(file, at.path("real/gateway.yaml"));
  symlinkSync("real/gateway.yaml", file);
  writeFileSync(found, text);
  const cli = cliWith(async () => ({}));
  await setEnabled({ ...cli, globals: { ...cli.globals, config: found } }, "one", false);
  expect(readFileSync(found, "utf8")).toBe(text);
  expect(lstatSync(file).isSymbolicLink()).toBe(true);
  expect(disabledIn(readFileSync(at.path("real/gateway.yaml"), "utf8"))).toEqual(["one"]);
});

test("a daemon that refuses the client is not mistaken for no daemon: the file stays unchanged", async () => {
  const open = () => Promise.reject(new Refusal("busy", "no more connections"));
  expect(await setEnabled({ ...cliWith(null), open }, "one", false).catch(String)).toContain("no more connections");
  expect(readFileSync(file, "utf8")).toBe(text);
});

test("the system's reason why a file cannot be replaced is shown", async () => {
  // The name is too long for the draft next to it.
  file = at.path(`${"x".repeat(240)}.yaml`);
  writeFileSync(file, text);
  expect(await setEnabled(cliWith(null), "one", false).catch(String)).toContain("ENAMETOOLONG");
  expect(readFileSync(file, "utf8")).toBe(text);
});

test.skipIf(!isRoot)("R1 the file keeps its owner, group and mode (needs root)", async () => {
  chownSync(file, 65534, 65533);
  await setEnabled(cliWith(null), "one", false);
  expect(disabledIn(readFileSync(file, "utf8"))).toEqual(["one"]);
  const { uid, gid, mode } = statSync(file);
  expect({ uid, gid, mode: mode & 0o777 }).toEqual({ uid: 65534, gid: 65533, mode: 0o640 });
});

/** Disables a server as uid and gid 65534, which is in no other group. */
async function disableAsNobody(mode = 0o777): Promise<{ err: string; code: number }> {
  chmodSync(at.dir, mode);
  const flags = ["--config", file, "--socket", "/none.sock"];
  const child = Bun.spawn([...asNobody, ...mcpgw, "servers", "disable", "one", ...flags], {
    env: { ...bareEnv(at.dir), BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" },
    stdout: "ignore",
    stderr: "pipe",
  });
  return { err: await child.stderr.text(), code: await child.exited };
}

test.skipIf(!canBecomeNobody)("a file whose owner would change is left unchanged (needs setpriv as root)", async () => {
  chmodSync(file, 0o644);
  const { err, code } = await disableAsNobody();
  expect(err).toContain(
    "belongs to uid 0, gid 0, and replacing it would change that: edit it yourself, or run this as uid 0",
  );
  expect(code).toBe(1);
  expect(readFileSync(file, "utf8")).toBe(text);
  expect(readdirSync(at.dir)).toEqual(["gateway.yaml"]);
});

test.skipIf(!canBecomeNobody)(
  "an owner who is not in the file's group gets that reason (needs setpriv as root)",
  async () => {
    chownSync(file, 65534, 65533);
    const { err, code } = await disableAsNobody();
    expect(err).toContain("you are not a member of its group, 65533; chgrp it, or run this as root");
    expect(code).toBe(1);
    expect(readFileSync(file, "utf8")).toBe(text);
  },
);

test.skipIf(!canBecomeNobody)("a group without rights does not stop the owner (needs setpriv as root)", async () => {
  chownSync(file, 65534, 65533);
  chmodSync(file, 0o600);
  expect((await disableAsNobody()).code).toBe(0);
  expect(disabledIn(readFileSync(file, "utf8"))).toEqual(["one"]);
  const { uid, mode } = statSync(file);
  expect({ uid, mode: mode & 0o777 }).toEqual({ uid: 65534, mode: 0o600 });
});

test.skipIf(!canBecomeNobody)(
  "a user who may not change the file is told the reason and what helps (needs setpriv as root)",
  async () => {
    chmodSync(file, 0o644);
    const denied = `mcpgw: uid 65534 may not write to ${at.dir}; run this with sudo\n`;
    expect(await disableAsNobody(0o755)).toEqual({ err: denied, code: 1 });
    chmodSync(file, 0o640);
    const unreadable = `${file}: uid 65534 may not read it (EACCES): it belongs to uid 0, gid 0, mode 0640; run this with sudo`;
    expect(await disableAsNobody(0o755)).toEqual({ err: `mcpgw: ${unreadable}\n`, code: 1 });
    expect(readFileSync(file, "utf8")).toBe(text);
    expect(readdirSync(at.dir)).toEqual(["gateway.yaml"]);
  },
);

test.skipIf(!canMount())(
  "a mounted file or directory must be edited at the source of the mount (needs mount as root)",
  async () => {
    const run = (...argv: string[]): void => expect(Bun.spawnSync(argv).exitCode).toBe(0);
    const refused = (): Promise<string> => setEnabled(cliWith(null), "one", false).then(() => "done", String);
    const advice = "edit it at the source of the mount, then run `mcpgw config reload`";
    for (const [path, code] of [
      [file, "EBUSY"],
      [at.dir, "EROFS"],
    ] as const) {
      run("mount", "--bind", path, path);
      try {
        run("mount", "-o", "remount,bind,ro", path);
        expect(await refused()).toContain(`${file} cannot be replaced, since it is mounted (${code}); ${advice}`);
      } finally {
        run("umount", path);
      }
    }
    expect([readFileSync(file, "utf8"), readdirSync(at.dir)]).toEqual([text, ["gateway.yaml"]]);
  },
);
