import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { ensureBinary } from "../../scripts/lib/build.ts";
import { type Daemon, everything, fake, Place, servesParent } from "../support/daemon.ts";
import { pidsWith } from "../support/processes.ts";
import { connect } from "../support/sdk.ts";
import { until } from "../support/until.ts";
import { textOf } from "../support/wire.ts";
import { createScreen } from "../support/screen.ts";

// The executable as users get it: without Bun on the machine, in a hostile current directory.

let binary = "";
let place: BinaryPlace;
let daemon: Daemon;
let key = "";

/** The hostile directory; `harm` exists once any of its files took effect. */
class BinaryPlace extends Place {
  readonly harm = join(this.dir, "harm");
  readonly here = join(this.dir, "here");

  constructor(config: unknown) {
    super(config);
    mkdirSync(this.here);
    const harmful = `require("node:fs").writeFileSync(${JSON.stringify(this.harm)}, process.argv.join(" "));`;
    const files = {
      "bunfig.toml": 'preload = ["./harm.ts"]\n[run]\npreload = ["./harm.ts"]\n',
      ".env": `MCPGW_STATE=${this.harm}\nMCPGW_CONFIG=${this.harm}\nMCPGW_API_KEY=harm\nNODE_TLS_REJECT_UNAUTHORIZED=0\n`,
      "package.json": '{"name":"harm","type":"commonjs","imports":{"#harm":"./harm.ts"},"main":"harm.ts"}',
      "tsconfig.json": '{"compilerOptions":{"baseUrl":".","paths":{"*":["./harm.ts"]},"jsxImportSource":"./harm.ts"}}',
      "gateway.yaml": "servers: [{ id: harm, command: touch, args: [harm] }]\n",
      "harm.ts": harmful,
      "harmless.js": "",
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.here, name), text);
    chmodSync(join(this.here, "gateway.yaml"), 0o666);
  }

  override env(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
    const { BUN_CONFIG_MAX_HTTP_REQUESTS: _, BUN_RUNTIME_TRANSPILER_CACHE_PATH: __, ...env } = super.env(extra);
    const without = (directory: string): boolean => !existsSync(join(directory, "bun"));
    return { ...env, PATH: (env["PATH"] ?? "").split(delimiter).filter(without).join(delimiter) };
  }

  command(...args: string[]): string[] {
    return [binary, ...args, ...this.flags()];
  }

  override spawn(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const streams = { stdin: "pipe", stdout: "pipe", stderr: "pipe" } as const;
    return Bun.spawn(this.command(...args), { cwd: this.here, env: this.env(env), ...streams });
  }
}

beforeAll(async () => {
  binary = await ensureBinary();
  place = new BinaryPlace({
    servers: [{ id: "calculator", builtin: "calculator" }, fake("fake", [], { isolation: "shared" })],
    policies: [everything()],
    audit: { checkpointEvery: { interval: "1s", records: 1 } },
  });
  daemon = await place.start();
  key = await place.key("agent");
}, 60_000);

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  place[Symbol.dispose]();
}, 30_000);

test("the files in the hostile directory affect a program that Bun runs there, but not the executable", async () => {
  using trap = new BinaryPlace({});
  const child = Bun.spawn([process.execPath, "harmless.js"], {
    cwd: trap.here,
    env: trap.env(),
    stdio: ["ignore", "ignore", "ignore"],
  });
  await child.exited;
  expect(existsSync(trap.harm)).toBe(true);
  expect(existsSync(place.harm)).toBe(false);
});

test("R126: --version and --help answer without Bun", async () => {
  expect(Bun.which("bun", { PATH: place.env()["PATH"] ?? "" })).toBeNull();
  for (const [flag, text] of [
    ["--version", /^\d+\.\d+\.\d+\n$/],
    ["--help", /daemon/],
  ] as const) {
    const child = Bun.spawn([binary, flag], { cwd: place.here, env: place.env(), stdout: "pipe" });
    expect(await child.stdout.text()).toMatch(text);
    expect(await child.exited).toBe(0);
  }
});

test("R122 R88 R25: daemon, tools call, usage, audit log and verify", async () => {
  const counts = await place.key("counted");
  const answer = await daemon.call(
    "calculator__exact_calculate",
    { operator: "add", operands: ["0.1", "0.2"] },
    counts,
  );
  expect(textOf(answer.json)).toBe("0.3");
  const called = await place.cli(["tools", "call", "fake:echo", "text=hello"], { env: { MCPGW_API_KEY: counts } });
  expect([called.code, called.stdout]).toEqual([0, expect.stringContaining("hello")]);
  // Usage is counted and the log is indexed by the worker, which is a separate file inside the executable.
  const counted = async () => JSON.stringify(await place.json("usage", "counted")).includes('"calls":2');
  await until(counted, "the worker to count both calls", 10_000);
  const found = await place.json("audit", "log", "--consumer", "counted", "--server", "fake", "--tool", "echo");
  expect(found).toMatchObject({ records: [{ consumer: "counted", tool: "echo", status: "ok" }] });
  await until(async () => (await place.cli(["audit", "verify"])).code === 0, "a checkpoint to prove the log", 10_000);
  expect(existsSync(place.harm)).toBe(false);
}, 30_000);

describe.each(["beside the daemon", "alone"])("R22: serve %s", (how) => {
  test("for an official client", async () => {
    await using own = how === "alone" ? new AloneInstallation() : null;
    const target = own?.place ?? place;
    const env = target.env(own ? {} : { MCPGW_API_KEY: key });
    // Its first call names a tool that it may have seen at an earlier start, while the server is still starting.
    await using peer = await connect("1.x", { command: target.command("serve"), env, cwd: target.here });
    const args = { operator: "multiply", operands: ["6", "7"] };
    expect(await peer.call("calculator__exact_calculate", args)).toMatchObject({ content: [{ text: "42" }] });
    expect(existsSync(target.harm)).toBe(false);
  }, 30_000);
});

class AloneInstallation implements AsyncDisposable {
  readonly place = new BinaryPlace({
    auth: servesParent,
    servers: [{ id: "calculator", builtin: "calculator" }],
    policies: [everything()],
  });

  async [Symbol.asyncDispose](): Promise<void> {
    const run = this.place.run("serve-1");
    await until(() => pidsWith(run).length === 0, "nothing of it to be left");
    this.place[Symbol.dispose]();
  }
}

test("R125: the console starts and ends in a terminal", async () => {
  await daemon.call("calculator__exact_calculate", { operator: "add", operands: ["1", "2"] }, key);
  const screen = createScreen(120, 30);
  const decoder = new TextDecoder();
  const child = Bun.spawn(place.command("tui"), {
    cwd: place.here,
    env: { ...place.env(), TERM: "xterm-256color" },
    terminal: { cols: 120, rows: 30, data: (_, data) => screen.write(decoder.decode(data, { stream: true })) },
  });
  await until(() => screen.text().includes("calculator:exact_calculate"), "the calls to be shown");
  child.terminal?.write("q");
  expect(await child.exited).toBe(0);
  expect(existsSync(place.harm)).toBe(false);
}, 30_000);

test("R128, T01, FIELD T51: kill -9 of the daemon leaves no child and loses no record", async () => {
  const run = place.run();
  const calls = (await place.records()).length;
  expect(pidsWith(run).length).toBeGreaterThanOrEqual(2);
  await daemon.stop("SIGKILL");
  await until(() => pidsWith(run).length === 0, "every process of that run to be gone", 10_000);
  daemon = await place.start();
  expect((await place.records()).length).toBeGreaterThanOrEqual(calls);
  expect((await daemon.call("fake__echo", {}, key)).status).toBe(200);
  expect((await place.cli(["audit", "verify"])).code).toBe(0);
}, 30_000);
