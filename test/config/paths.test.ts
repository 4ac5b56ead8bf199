import { afterAll, expect, test } from "bun:test";
import { chmodSync, lchownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  chosenPaths,
  clientSocket,
  defaultConfig,
  findConfig,
  ignoredConfigHint,
  resolvePaths,
} from "../../src/config/paths.ts";
import type { Host } from "../../src/config/paths.ts";
import { readConfigFile } from "../../src/config/read.ts";
import { asNobody, canBecomeNobody } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";

const temp = new TempDir();
const { dir } = temp;
afterAll(() => temp[Symbol.dispose]());

const me = process.getuid?.() ?? -1;
const host = (changes: Partial<Host> = {}): Host => ({ env: {}, uid: 1000, home: "/home/u", cwd: "/srv", ...changes });

test.each([
  [
    "root",
    host({ uid: 0 }),
    "/var/lib/mcpgw",
    "/run/mcpgw/control.sock",
    "/var/lib/mcpgw-heads",
    "/etc/mcpgw/gateway.yaml",
  ],
  [
    "systemd",
    host({
      env: {
        STATE_DIRECTORY: "/var/lib/mcpgw:/var/lib/mcpgw-heads",
        RUNTIME_DIRECTORY: "/run/mcpgw",
        CONFIGURATION_DIRECTORY: "/etc/mcpgw",
      },
    }),
    "/var/lib/mcpgw",
    "/run/mcpgw/control.sock",
    "/var/lib/mcpgw-heads",
    "/etc/mcpgw/gateway.yaml",
  ],
  [
    "a user",
    host({ env: { XDG_RUNTIME_DIR: "/run/user/1000" } }),
    "/home/u/.local/state/mcpgw",
    "/home/u/.local/state/mcpgw/control.sock",
    "/home/u/.local/state/mcpgw-heads",
    "/home/u/.config/mcpgw/gateway.yaml",
  ],
  [
    "a user with XDG directories",
    host({ env: { XDG_STATE_HOME: "/s", XDG_CONFIG_HOME: "/c" } }),
    "/s/mcpgw",
    "/s/mcpgw/control.sock",
    "/s/mcpgw-heads",
    "/c/mcpgw/gateway.yaml",
  ],
])("default paths of %s", (_, at, state, socket, heads, config) => {
  expect(resolvePaths(at)).toEqual({ state, socket, heads });
  expect(defaultConfig(at)).toBe(config);
});

test("a chosen state directory has its socket inside and its heads outside", () => {
  const paths = resolvePaths(host({ uid: 0 }), { state: "demo" });
  expect(paths).toEqual({ state: "/srv/demo", socket: "/srv/demo/control.sock", heads: "/var/lib/mcpgw-heads" });
  expect(() => resolvePaths(host(), { state: `/${"x".repeat(100)}` })).toThrow("control.socket");
});

test("R120 a flag takes precedence over the environment, and that over the file", () => {
  const at = host({ env: { MCPGW_STATE: "/env", MCPGW_SOCKET: "" } });
  expect(chosenPaths(at, {}, { state: "/file", socket: "/file.sock" })).toEqual({
    state: "/env",
    socket: "/file.sock",
  });
  expect(chosenPaths(at, { state: "/flag" }, { state: "/file" }).state).toBe("/flag");
});

test("a client uses the socket of its own installation when that is chosen", () => {
  expect(clientSocket(host(), { state: "/s" })).toBe("/s/control.sock");
  expect(clientSocket(host(), { socket: "/x.sock" })).toBe("/x.sock");
});

/** Runs a command with empty /var/lib and /run directories, except for what the shell line creates. */
const elsewhere = (make: string, command: readonly string[]) => {
  const line = `mount -t tmpfs none /var/lib && mount -t tmpfs none /run && { ${make}; } && exec "$@"`;
  return Bun.spawnSync(["unshare", "-m", "sh", "-c", line, "sh", ...command]);
};
const canMount = elsewhere("true", ["true"]).success;

test.skipIf(!canMount)(
  "outside of the unit, only its user finds the heads that the unit has written (needs mounts)",
  () => {
    const module = join(import.meta.dir, "../../src/config/paths.ts");
    const program = `
    const { clientSocket, resolvePaths } = await import(${JSON.stringify(module)});
    const at = (state) => [resolvePaths(${JSON.stringify(host())}, { state }).heads, clientSocket(${JSON.stringify(host())}, { state })];
    console.log(JSON.stringify([at("/var/lib/mcpgw"), at("/srv/s")]));`;
    const found = (make: string): unknown =>
      JSON.parse(elsewhere(make, [process.execPath, "-e", program]).stdout.toString());
    const own = "/home/u/.local/state/mcpgw-heads";
    const others = [own, "/srv/s/control.sock"];
    const unit = "mkdir -p /var/lib/mcpgw-heads /run/mcpgw && touch /run/mcpgw/control.sock";
    expect(found(unit)).toEqual([["/var/lib/mcpgw-heads", "/run/mcpgw/control.sock"], others]);
    expect(found("true")).toEqual([[own, "/var/lib/mcpgw/control.sock"], others]);
  },
);

test.skipIf(!canMount || !canBecomeNobody)(
  "a client that finds no daemon is told where the system's is, even if it may not use it (needs mounts and setpriv as root)",
  () => {
    const program = `
    const { systemDaemonHint } = await import(${JSON.stringify(join(import.meta.dir, "../../src/config/paths.ts"))});
    console.log(systemDaemonHint("/home/u/control.sock"), systemDaemonHint("/run/mcpgw/control.sock"));`;
    const found = (make: string) => elsewhere(make, [...asNobody, process.execPath, "-e", program]).stdout.toString();
    const closed = "in /run/mcpgw, which only members of its group can use";
    expect(found("mkdir -m 750 /run/mcpgw")).toBe(`${closed} ${closed}\n`);
    expect(found("mkdir -m 755 /run/mcpgw")).toBe("null null\n");
    expect(found("true")).toBe("null null\n");
    const there = "at /run/mcpgw/control.sock (use --socket to name it)";
    expect(found("mkdir -m 755 /run/mcpgw && touch /run/mcpgw/control.sock")).toBe(`${there} null\n`);
  },
);

test("R28 the file is named by flag, MCPGW_CONFIG, MCP_GATEWAY_CONFIG, in this order", () => {
  const env = { MCPGW_CONFIG: "/one", MCP_GATEWAY_CONFIG: "two" };
  const find = (flag: string | undefined, variables: Record<string, string>) =>
    findConfig(host({ env: variables }), { flag, local: true });
  expect(find("f.yaml", env)).toEqual({ path: "/srv/f.yaml", why: "--config", byDefault: false, skipped: null });
  expect(find(undefined, env)).toMatchObject({ path: "/one", why: "MCPGW_CONFIG" });
  expect(find(undefined, { MCP_GATEWAY_CONFIG: "two" })).toMatchObject({
    path: "/srv/two",
    why: "MCP_GATEWAY_CONFIG",
  });
});

test("./gateway.yaml is read only by local commands of its owner, never as root, and only if nobody else may write it", () => {
  const here = temp.path("gateway.yaml");
  const at = (changes: Partial<Host> = {}): Host => host({ uid: 1000 + me, cwd: dir, home: dir, ...changes });
  const find = (changes: Partial<Host>, local = true) => findConfig(at(changes), { local });
  writeFileSync(here, "{}", { mode: 0o644 });

  expect(find({}).skipped).toContain("belongs to another user");
  expect(find({ uid: 0 })).toMatchObject({ skipped: expect.stringContaining("root") });
  expect(find({ uid: me }, false)).toMatchObject({ path: null, skipped: null });
});

test("./gateway.yaml of an ordinary user is read unless others may write it", () => {
  // Root owns the files of this test, so the caller is presented as an ordinary user who owns them too.
  const here = temp.path("mine", "gateway.yaml");
  mkdirSync(temp.path("mine"));
  writeFileSync(here, "{}", { mode: 0o644 });
  const owner = me === 0 ? 4242 : me;
  if (me === 0) Bun.spawnSync(["chown", String(owner), here]);
  const find = () => findConfig(host({ uid: owner, cwd: temp.path("mine"), home: dir }), { local: true });
  expect(find()).toEqual({ path: here, why: "the current directory", byDefault: false, skipped: null });
  chmodSync(here, 0o664);
  expect(find()).toMatchObject({ path: null, skipped: expect.stringContaining("is writable by others") });
});

test.skipIf(me !== 0)("a link in the current directory that another user created is not followed (needs root)", () => {
  mkdirSync(temp.path("link"));
  const target = temp.path("target.yaml");
  writeFileSync(target, "{}", { mode: 0o644 });
  Bun.spawnSync(["chown", "4242", target]);
  symlinkSync(target, temp.path("link", "gateway.yaml"));
  const found = findConfig(host({ uid: 4242, cwd: temp.path("link"), home: dir }), { local: true });
  expect(found).toMatchObject({ path: null, skipped: expect.stringContaining("another user") });
});

test("a broken or circular link is an unreadable configuration, not a missing one", () => {
  const home = temp.path("linked");
  const at = host({ uid: me === 0 ? 4242 : me, home, cwd: home });
  for (const link of [join(home, "gateway.yaml"), defaultConfig(at)]) {
    for (const [target, why] of [
      ["nowhere.yaml", "is a link to nowhere.yaml, which does not exist"],
      ["gateway.yaml", "cannot be read (ELOOP)"],
    ] as const) {
      mkdirSync(dirname(link), { recursive: true });
      rmSync(link, { force: true });
      symlinkSync(target, link);
      lchownSync(link, at.uid, process.getgid?.() ?? -1);
      const { path } = findConfig(at, { local: link === join(home, "gateway.yaml") });
      expect(path).toBe(link);
      expect(() => readConfigFile(link)).toThrow(`${link}: ${why}`);
    }
    rmSync(link);
  }
});

test("a configuration behind a broken link, for example to an unmounted disk, is unreadable too", () => {
  const home = temp.path("unmounted");
  const file = defaultConfig(host({ uid: 4242, home, cwd: home }));
  for (const link of [dirname(file), dirname(dirname(file))]) {
    rmSync(home, { recursive: true, force: true });
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync("/nowhere/at/all", link);
    expect(findConfig(host({ uid: 4242, home, cwd: home }), { local: false }).path).toBe(file);
    const why = `${file}: is reached through ${link}, a link to /nowhere/at/all, which does not exist`;
    expect(() => readConfigFile(file)).toThrow(why);
  }
});

test("a default configuration that is also ./gateway.yaml, even behind a link, is not reported as ignored", () => {
  const home = temp.path("default-home");
  const [directory, link] = [join(home, ".config/mcpgw"), temp.path("default-link")];
  mkdirSync(directory, { recursive: true });
  symlinkSync(home, link);
  writeFileSync(join(directory, "gateway.yaml"), "{}");
  expect(ignoredConfigHint(host({ home, cwd: directory }), {})).toBe("");
  expect(ignoredConfigHint(host({ home: link, cwd: directory }), {})).toBe("");
  writeFileSync(join(home, "gateway.yaml"), "{}");
  expect(ignoredConfigHint(host({ home, cwd: home }), {})).toContain(
    "does not read the gateway.yaml in this directory",
  );
  expect(ignoredConfigHint(host({ home, cwd: home }), { state: "state" })).toBe("");
});

test("the default place is tried last, and the error lists all places", () => {
  const home = temp.path("home");
  mkdirSync(join(home, ".config/mcpgw"), { recursive: true });
  const at = host({ home, cwd: home });
  expect(findConfig(at, { local: false }).why).toContain(".config/mcpgw/gateway.yaml; `mcpgw init` writes one");
  writeFileSync(join(home, ".config/mcpgw/gateway.yaml"), "{}");
  expect(findConfig(at, { local: false })).toMatchObject({ path: defaultConfig(at), byDefault: true });
});
