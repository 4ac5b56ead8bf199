import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { accessSync, constants, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { blocks, Newcomer, type Terminal } from "../support/newcomer.ts";
import { pidsWith } from "../support/processes.ts";
import { connect } from "../support/sdk.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

// The README as a newcomer follows it: its shell blocks, unchanged, in a fresh checkout without Bun.

const lastLine = "Ctrl-C stops the daemon.";
const sections = ["First call", "First denied call", "First proof"] as const;

let newcomer: Newcomer;
let demo: Terminal;
let free = (): void => {};

beforeAll(async () => {
  newcomer = new Newcomer();
  try {
    const taken = Bun.listen({ hostname: "127.0.0.1", port: 7332, socket: { data() {} } });
    free = () => taken.stop(true);
  } catch {
    // Another process has the port, which serves the same purpose.
  }
  demo = newcomer.terminal("./scripts/start");
  await demo.shows(lastLine);
}, 90_000);

afterAll(async () => {
  demo.press("\u0003");
  await demo.ended;
  free();
  newcomer[Symbol.dispose]();
});

const found = (text: string, pattern: RegExp): string => pattern.exec(text)?.[1] ?? `nothing matches ${pattern}`;
const keyOf = (terminal: Terminal): string => found(terminal.text, /^demo key: +(\S+)/m);

test("the two commands are the first blocks of the README", () => {
  const commands = blocks("README.md", "sh", "Start").map((block) => block.trim());
  expect(commands).toEqual(["./scripts/start", "./scripts/test"]);
  for (const command of commands) accessSync(join(newcomer.root, command), constants.X_OK);
});

test("R89: start uses another port if the default port is in use, and prints what a user needs", async () => {
  expect(newcomer.env["PATH"] && Bun.which("bun", { PATH: newcomer.env["PATH"] })).toBeNull();
  expect(demo.text).toMatch(/port 7332 is in use; this run listens on 73\d\d/);
  const url = found(demo.text, /^MCP URL: +(\S+)/m);
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:73\d\d\/mcp$/);
  expect(demo.text).toContain("calculator: ready, 3 tools");
  expect(demo.text).toContain("everything: ready, 13 tools");
  const key = join(newcomer.root, ".mcpgw/demo.key");
  expect([readFileSync(key, "utf8").trim(), statSync(key).mode & 0o777]).toEqual([keyOf(demo), 0o600]);
  // The demo is private to its user; the executable is for everyone whom that user's umask allows.
  const modes = [".mcpgw", "dist", "dist/mcpgw"].map((path) => statSync(join(newcomer.root, path)).mode & 0o777);
  expect(modes).toEqual([0o700, ...Array.from({ length: 2 }, () => 0o777 & ~process.umask())]);

  const curl = found(demo.text, /^(curl (?:.*\\\n)+.*)$/m);
  const pasted = await newcomer.sh(curl);
  expect(JSON.parse(pasted.stdout)).toMatchObject({
    result: { structuredContent: { result: "0.333333333333333333333333333333" } },
  });

  const client = JSON.parse(found(demo.text, /^(\{\n[\s\S]*?\n\})$/m));
  const { headers, ...server } = client.mcpServers.mcpgw;
  expect([server, headers]).toEqual([{ type: "http", url }, { Authorization: `Bearer ${keyOf(demo)}` }]);
  await using peer = await connect("1.x", { url, key: keyOf(demo) });
  expect(await peer.call("everything__echo", { message: "hello" })).toMatchObject({
    content: [{ text: "Echo: hello" }],
  });
});

test("the rule that the README shows is part of the demo", () => {
  const [shown = ""] = blocks("README.md", "yaml", "First denied call");
  const demonstration = parse(readFileSync(join(newcomer.root, ".mcpgw/gateway.yaml"), "utf8"));
  const [rule] = parse(shown).rules;
  expect(demonstration.rules).toContainEqual(rule);
});

test("R123 R125: tail and the console show calls as they happen", async () => {
  const calling = ". .mcpgw/env; MCPGW_API_KEY=$MCPGW_DEMO_KEY mcpgw tools call calculator:statistics 'values=[\"1\"]'";
  for (const [command, stop] of [
    ["mcpgw tail", "\u0003"],
    ["mcpgw tui", "q"],
  ] as const) {
    const terminal = newcomer.terminal("sh", "-c", `. .mcpgw/env; echo go; exec ${command}`);
    await terminal.shows("go");
    // The call may come before the command is ready to show it, so it is repeated.
    await until(
      async () => {
        await newcomer.sh(calling);
        return terminal.text.includes("calculator:statistics");
      },
      `${command} to show the call`,
      10_000,
    );
    terminal.press(stop);
    await terminal.ended;
  }
});

test("R49: the shortest useful file is valid, and the daemon runs with it", async () => {
  const [yaml = ""] = blocks("README.md", "yaml", "Your own servers");
  const [script = ""] = blocks("README.md", "sh", "Your own servers");
  const own = join(newcomer.home, "own");
  mkdirSync(own);
  writeFileSync(join(own, "gateway.yaml"), yaml, { mode: 0o600 });
  const env = {
    PATH: `${join(newcomer.root, "dist")}:${newcomer.env["PATH"]}`,
    CRM_TOKEN: "secret",
    MCPGW_CONFIG: join(own, "gateway.yaml"), // as root, ./gateway.yaml is not read
    MCPGW_STATE: join(own, "state"),
  };
  expect(script).toEndWith("mcpgw daemon\n");
  const started = script.replace(
    /mcpgw daemon\n$/,
    "mcpgw daemon --listen 127.0.0.1:0 & mcpgw status --wait 20; kill $!; wait $!",
  );
  const { stdout, stderr, code } = await newcomer.sh(`set -e\n${started}`, { cwd: own, env });
  // Creating the key reports that no daemon is running; status warns of that and of missing limits.
  const expected = /^mcpgw: warning: |no daemon answers/;
  const said = stderr.split("\n").filter((line) => line.startsWith("mcpgw:") && !expected.test(line));
  expect({ code, stderr: said }).toEqual({
    code: 0,
    stderr: [],
  });
  expect(stdout).toContain("gateway.yaml is valid");
  expect(stdout).toMatch(/^mgw_live_/m);
  expect(stdout).toMatch(/^state +ready/m);
}, 60_000);

test("first call, first denied call, first proof and the further commands run in one shell", async () => {
  const [call = "", denied = "", proof = "", more = ""] = sections.flatMap((name) => blocks("README.md", "sh", name));
  const mark = "\n=====\n";
  const lines = more.trim().split("\n");
  // These two run until they are stopped.
  const brief = lines.filter((line) => !/^mcpgw (tail|tui)\b/.test(line));
  const script = [call, denied, proof.replace("mcpgw audit verify", "mcpgw audit verify; echo $?"), brief.join("\n")];
  const checkpoint = () => newcomer.sh(". .mcpgw/env; mcpgw status --json");
  await until(async () => JSON.parse((await checkpoint()).stdout).audit.checkpoint !== null, "a checkpoint", 15_000);
  const { stdout, stderr } = await newcomer.sh(script.join(`printf '${mark.replaceAll("\n", "\\n")}'\n`));
  const [called = "", refused = "", proven = "", rest = ""] = stdout.split(mark);
  expect(JSON.parse(called)).toMatchObject({ result: { content: [{ text: "0.333333333333333333333333333333" }] } });
  expect(JSON.parse(refused)).toMatchObject({
    result: { isError: true, content: [{ text: expect.stringContaining("demo-no-power") }] },
  });
  expect(proven).toMatch(/demo +calculator:exact_calculate +ok /);
  expect(proven).toMatch(/demo +calculator:exact_calculate +denied .*demo-no-power/);
  expect(proven).toContain("VERIFIED");
  expect(proven.trimEnd().split("\n").at(-1)).toBe("0");
  for (const text of ["calculator  ready", "CONSUMER  CALLS", "SOURCE  NAME", "USAGE mcpgw"])
    expect(rest).toContain(text);
  // As root the tests cause an extra warning; the log's only note is about what it omits.
  const known =
    /^(?:mcpgw: warning: the gateway runs as root,|begin and checkpoint records are left out;|only the newest 5 are shown;).*\n/gm;
  expect(stderr.replace(known, "")).toBe("");
  expect(lines.length - brief.length).toBe(2);
});

test("a second start next to the first reports it; after Ctrl-C nothing is left, and the next start has the same key", async () => {
  const second = await newcomer.sh("./scripts/start");
  expect([second.code, second.stderr]).toEqual([1, expect.stringContaining("is already running")]);
  demo.press("\u0003");
  expect(await demo.ended).toBe(0);
  await until(() => pidsWith(newcomer.root).length === 0, "every process of the demonstration to be gone", 10_000);
  const before = keyOf(demo);
  demo = newcomer.terminal("./scripts/start");
  await demo.shows(lastLine);
  expect(keyOf(demo)).toBe(before);
  expect(demo.text).not.toContain("building");
}, 60_000);
