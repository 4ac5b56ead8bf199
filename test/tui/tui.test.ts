import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { start as startDaemon } from "../support/daemon.ts";
import { mcpgw, mcpgwLine } from "../support/mcpgw.ts";
import { bareEnv, sample } from "../support/sample.ts";
import { expectGolden, isGolden } from "../support/golden.ts";
import { until } from "../support/until.ts";
import { createScreen, type Screen } from "../support/screen.ts";

// Each console is a process that polls the gateway every two seconds, which is slow on a busy machine.
setDefaultTimeout(30_000);

const program = sample();
let running: Console | null = null;

beforeAll(() => program.start("stays"));
afterAll(() => program.close());
afterEach(async () => {
  running?.child.kill("SIGKILL");
  await running?.child.exited;
  running = null;
});

type Console = {
  readonly child: Bun.Subprocess;
  readonly screen: Screen;
  shows(text: string | RegExp): Promise<unknown>;
  press(keys: string): void;
  /** Presses these keys and waits until the screen shows the text. */
  pressed(keys: string, text: string | RegExp): Promise<unknown>;
};

type Options = {
  readonly cols?: number;
  readonly rows?: number;
  readonly socket?: string;
  readonly env?: Record<string, string>;
  readonly command?: readonly string[];
};

/** Starts the real program in a pseudo-terminal. */
function start(options: Options = {}): Console {
  const { cols = 100, rows = 16, socket = program.socket, env = {}, command = [...mcpgw, "tui"] } = options;
  const screen = createScreen(cols, rows);
  const decoder = new TextDecoder();
  const child = Bun.spawn([...command], {
    env: { ...bareEnv(program.directory), MCPGW_SOCKET: socket, TERM: "xterm-256color", ...env },
    terminal: { cols, rows, data: (_terminal, data) => screen.write(decoder.decode(data, { stream: true })) },
  });
  const has = (text: string | RegExp): boolean =>
    typeof text === "string" ? screen.text().includes(text) : text.test(screen.text());
  const shows = (text: string | RegExp): Promise<unknown> =>
    until(() => has(text), `the screen shows ${String(text)}`, 10_000);
  const press = (keys: string): void => void child.terminal?.write(keys);
  const pressed: Console["pressed"] = (keys, text) => (press(keys), shows(text));
  running = { child, screen, shows, press, pressed };
  return running;
}

/** Starts the program and waits until it is connected. */
async function live(options?: Options): Promise<Console> {
  const console = start(options);
  await console.shows("● live");
  return console;
}

/** Compares the screen with a golden file, and waits for them to match, since a frame arrives in parts. */
async function looksLike(golden: string, screen: Screen): Promise<void> {
  await until(() => isGolden(golden, screen.text()), golden, 2_000).catch(() => {});
  expectGolden(golden, screen.text());
}

const [up, down] = ["\u001b[A", "\u001b[B"];

/** Matches the start of the selected row of this tool. */
const selected = (tool: string): RegExp => new RegExp(`▸ \\S+ +agent +${tool} `);

test("R125: shows calls, servers, consumers and the details of a record", async () => {
  const { screen, shows, press, pressed, child } = await live();
  await looksLike("tui/calls.txt", screen);
  await pressed("2", "REASON");
  await shows("exited with 1");
  await looksLike("tui/servers.txt", screen);
  await pressed("3", "intern-bot");
  await shows("ROLES");
  await looksLike("tui/consumers.txt", screen);
  await pressed("1", "TOOK");
  for (let row = 0; row < 3; row++) press(down);
  await shows("▸ 12:00:03.000");
  await pressed(up, "▸ 12:00:04.000");
  await pressed(down, "▸ 12:00:03.000");
  await pressed("\r", "Record main/3");
  await shows("delete_file");
  await looksLike("tui/record.txt", screen);
  await pressed("\u001b[6~", "hash");
  await pressed("\u001b[5~", "type      call.refused");
  press("q");
  expect(await child.exited).toBe(0);
  expect(screen.alternate).toBe(false);
});

test("the console shows no call counts if metering is off", async () => {
  await using daemon = await startDaemon({ servers: [], policies: [], usage: { enabled: false } });
  const { place } = daemon;
  const key = await place.key("agent");
  await daemon.call("none__such", {}, key);
  const { shows, pressed } = await live({ socket: path.join(place.state, "control.sock") });
  await pressed("3", "CALLS 24h");
  await shows("▸ agent                        -        -        -     0     1 user");
});

test("the console names a chain whose records cannot be read", async () => {
  await using daemon = await startDaemon({ servers: [], policies: [] });
  const { state } = daemon.place;
  writeFileSync(path.join(state, "audit/serve-1.db"), "rubbish");
  const { shows } = await live({ socket: path.join(state, "control.sock") });
  await shows("records of chain serve-1 cannot be read; see `mcpgw audit verify`");
});

test("the selected row stays selected when newer ones arrive, and Enter opens it", async () => {
  await using daemon = await startDaemon({ servers: [], policies: [] });
  const { place } = daemon;
  const key = await place.key("agent");
  for (const name of ["one", "two"]) await daemon.call(name, {}, key);
  const { shows, pressed } = start({ socket: path.join(place.state, "control.sock") });
  await shows(selected('"two"'));
  await pressed(down, selected('"one"'));
  for (const name of ["three", "four"]) await daemon.call(name, {}, key);
  await shows(/ agent +"four" /);
  await shows(selected('"one"'));
  await pressed("p", "● paused");
  await shows(selected('"one"'));
  await pressed("\r", /tool +one\b/);
});

test("all keys of one read are handled", async () => {
  const { screen, pressed } = await live();
  await pressed("jjj", "▸ 12:00:03.000");
  await pressed("kjk/files denied\r", "/ files denied\n");
  await until(() => !screen.text().includes("read_file"), "other rows are gone");
  await pressed("22", "RESTARTS");
  await pressed("\t", "KEYS");
});

test("only the start of a file pasted by mistake is handled, and text after an Enter is ignored", async () => {
  const { screen, pressed } = await live();
  await pressed(`2${"x".repeat(250)}q`, "RESTARTS");
  await pressed("1", "TOOK");
  await pressed("/files denied\rread\r", "/ files denied\n");
  await pressed("2", "RESTARTS");
  await pressed("1", "/ files denied\n");
  expect(screen.text()).not.toContain("Record");
});

test("R125: Enter shows the details of a server, including a reason too long for its row", async () => {
  const { screen, shows, press, pressed } = await live({ cols: 80 });
  await pressed("2", "exited");
  press(down);
  await pressed("\r", "Server crm");
  await looksLike("tui/server.txt", screen);
  for (let page = 0; page < 3; page++) press("\u001b[6~");
  await shows(/^down +key:key-2, until 2026-03-01 12:01:00, circuit open: exited/m);
  await pressed("\u001b[5~", /^state +ready$/m);
  await pressed("\u001b", "REASON");
  press(down);
  await pressed("\r", "Server broken");
  for (let page = 0; page < 3; page++) press("\u001b[6~");
  await shows(/^help +the start will be retried later; `mcpgw servers/m);
});

test("a filter and its Enter in one read are both handled, even if it is the name of a key, and no match is reported", async () => {
  const { screen, shows, pressed } = await live();
  await pressed("/", "type to filter");
  await pressed("backspace\r", "nothing matches the filter");
  await shows("/ backspace\n");
  await shows("p pause");
  expect(screen.text()).not.toContain("u{d}");
  expect(screen.text()).not.toContain("no calls yet");
  await pressed("/\u0085\r", "/ backspace\\u{85}\n");
});

test("without a connection, the console says that it is not connected, not that there are no calls", async () => {
  const { screen, shows, pressed } = start({ socket: path.join(program.directory, "\u001b[2J.sock") });
  await shows("not connected");
  await shows("\\u{1b}[2J.sock");
  expect(screen.text()).not.toContain("no calls yet");
  for (const [key, title] of screens.slice(1)) {
    await pressed(key, title);
    await shows("not connected");
  }
});

test("a filter shows records that contain all its words, and Esc clears it", async () => {
  const { screen, press, pressed } = await live();
  await pressed("/", "type to filter");
  for (const typed of ["z", "zz"]) await pressed("z", `/ ${typed}▏`);
  // Backspace, then Delete.
  await pressed("\u007f\u001b[3~", "/ ▏");
  for (const key of "files denied") press(key);
  await until(() => !screen.text().includes("read_file"), "other rows are gone");
  await looksLike("tui/filter.txt", screen);
  await pressed("\r", "Enter record");
  await pressed("\u001b", "read_file");
});

test("p pauses, but Ctrl-P and Alt-P do not", async () => {
  const { screen, press, pressed } = await live();
  // Sent in one read with other keys, and still not treated as text.
  press(`${down}\u0010${down}`);
  await pressed("2", "RESTARTS");
  await pressed("1", "TOOK");
  press("\u001bp");
  await pressed("2", "RESTARTS");
  expect(screen.text()).toContain("● live");
  await pressed("1", "TOOK");
  await pressed("p", "● paused");
  await pressed("p", "● live");
});

test("a narrow terminal keeps the important columns, and the layout follows a resize", async () => {
  const { screen, shows, pressed, child } = await live({ cols: 40, rows: 10 });
  await looksLike("tui/narrow.txt", screen);
  await pressed("2", "backoff");
  await looksLike("tui/narrow-servers.txt", screen);
  await pressed("3", "intern-bot");
  await looksLike("tui/narrow-consumers.txt", screen);
  await pressed("1", "TOOL");
  screen.resize(120, 12);
  child.terminal?.resize(120, 12);
  await shows("no-delete: files are never deleted");
  await looksLike("tui/wide.txt", screen);
});

test("on a terminal with few rows, the selected row stays visible from the first to the last", async () => {
  const { shows, pressed } = await live({ rows: 7 });
  const isFirst = /TIME.*\n▸ /;
  await shows(isFirst);
  const [pageUp, pageDown] = ["\u001b[5~", "\u001b[6~"];
  await pressed(pageDown.repeat(9), "▸ 12:00:01");
  await pressed(pageUp.repeat(9), isFirst);
});

test("the console survives a daemon restart: it shows the loss, keeps its records and reconnects", async () => {
  const { screen, shows } = await live();
  await program.stop();
  await shows("● lost");
  expect(screen.text()).toContain("retrying");
  expect(screen.text()).toContain("delete_file");
  await program.start("stays");
  await shows("● live");
  expect(screen.text()).not.toContain("retrying");
});

test("a hung daemon is not shown as live, and record details say that it does not answer", async () => {
  const { shows, pressed } = await live();
  program.hang(true);
  await pressed("\r", "asking the daemon…");
  await shows(/● NOT ANSWERING since \d\d:\d\d:\d\d\n the daemon does not answer; retrying/);
  await shows("Record main/6\nthe daemon does not answer");
  program.hang(false);
  await shows("● live");
});

const screens = ["1", "2", "3"].map((key, index) => [key, ["TOOK", "RESTARTS", "KEYS"][index] ?? ""] as const);

test("a frozen gateway is not shown as live on any screen, and its recovery is shown", async () => {
  const { screen, shows, press, pressed } = await live();
  expect(await program.run(["keys", "freeze"])).toMatchObject({ code: 0 });
  for (const [key, title] of screens) {
    await pressed(key, title);
    await shows("● FROZEN");
    await shows("every caller is refused; `mcpgw keys unfreeze` ends the freeze");
  }
  await pressed("1", "TOOK");
  await looksLike("tui/frozen.txt", screen);
  await pressed("p", "● FROZEN, paused");
  press("p");
  await program.run(["keys", "unfreeze"]);
  await shows("● live");
  expect(screen.text()).not.toContain("refused;");
});

test("a gateway that is not ready is shown as such, also after a restart, until it recovers", async () => {
  const { screen, shows, pressed } = await live({ cols: 80, rows: 10 });
  await program.run(["keys", "freeze"]);
  await shows("● FROZEN");
  await program.stop();
  await shows("● lost");
  await program.start("full");
  await shows("● NOT READY");
  await looksLike("tui/not-ready.txt", screen);
  expect(screen.text()).not.toContain("FROZEN");
  await pressed("/", "type to filter");
  await pressed("denied\r", "/ denied  not ready: the audit log");
  await pressed("2", "RESTARTS");
  expect(screen.text()).toContain("\nnot ready: the audit log");
  await program.stop();
  await program.start("stays");
  await shows("● live");
});

test("Ctrl-Z returns the terminal to the shell until the console continues, each time", async () => {
  const stopped = (time: number) => `stty -a | grep -o '.icanon' | sed s/^/${time}/; read -r line; fg`;
  // A script that runs it stops too.
  const shell = `set -m; (${mcpgwLine("tui")}; exit $?); ${stopped(1)}; ${stopped(2)}`;
  const { screen, press, pressed, child } = await live({ command: ["sh", "-c", shell] });
  for (const time of [1, 2]) {
    await pressed("\u001a", `${time} icanon`);
    expect(screen).toMatchObject({ alternate: false, cursor: true });
    await pressed("go on\r", "● live");
  }
  await pressed("2", "RESTARTS");
  expect(screen).toMatchObject({ alternate: true, cursor: false });
  press("q");
  expect(await child.exited).toBe(0);
});

test("a console that was stopped during a terminal resize fits the new size when it continues", async () => {
  const shell = `set -m; ${mcpgwLine("tui")}; stty -a | grep -o '.icanon'; read -r line; fg`;
  const { screen, press, pressed, child } = await live({ command: ["sh", "-c", shell] });
  await pressed("\u001a", " icanon");
  screen.resize(60, 12);
  child.terminal?.resize(60, 12);
  press("go on\r");
  await until(
    () => /^1 Calls {2}2 Servers .* ● live$/m.exec(screen.text())?.[0].length === 60,
    "the title fits",
    5_000,
  );
  press("q");
  expect(await child.exited).toBe(0);
});

test("a console stopped by SIGSTOP takes the terminal back when it continues", async () => {
  const { screen, child } = await live();
  child.kill("SIGSTOP");
  // As a shell does for a stopped job.
  screen.write("\u001b[?1049l");
  expect(screen.alternate).toBe(false);
  child.kill("SIGCONT");
  await until(() => screen.alternate, "the terminal is taken back");
});

test("R125: colors are shown unless NO_COLOR is set", async () => {
  const { screen } = await live();
  expect(screen.colored).toBe(true);
  running?.child.kill("SIGKILL");
  const plain = start({ env: { NO_COLOR: "1" } });
  await plain.shows("● live");
  expect(plain.screen.colored).toBe(false);
});

test("R125: each column has the color of its value", async () => {
  const { screen, pressed } = await live();
  await pressed("2", "exited with 1");
  await pressed("3", "intern-bot");
  const [red, green, yellow, cyan, gray] = [31, 32, 33, 36, 90].map((color) => screen.painted(color).split("\n"));
  for (const [texts, expected] of [
    [red, ["timeout", "denied", "9"]],
    [green, ["ok", "ready"]],
    [yellow, ["invalid", "tool_error", "backoff", "3"]],
    [cyan, ["files:read_file", "key.created", "crm", "intern-bot"]],
    [gray, ["12:00:06.000", "-", "0"]],
  ] as const)
    expect(texts?.map((text) => text.trim())).toEqual(expect.arrayContaining([...expected]));
});

test.each([
  ["", { TERM: "dumb" }],
  ["< /dev/null", {}],
  ["> /dev/null", {}],
])("an unsuitable terminal is refused and left unchanged: tui %s with %o", async (redirected, env) => {
  const { screen, shows, child } = start({ env, command: ["sh", "-c", `${mcpgwLine("tui")} ${redirected}`] });
  await shows("tui needs an interactive terminal");
  expect(await child.exited).toBe(2);
  expect(screen).toMatchObject({ alternate: false, cursor: true });
});

test("the console starts without a daemon and connects once there is one", async () => {
  await program.stop();
  const { shows } = start();
  await shows("no daemon answers");
  await program.start("stays");
  await shows("● live");
});
