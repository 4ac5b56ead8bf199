import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { start as startDaemon } from "../support/daemon.ts";
import { mcpgw, mcpgwLine } from "../support/mcpgw.ts";
import { bareEnv, sample } from "../support/sample.ts";
import { expectGolden, isGolden } from "../support/golden.ts";
import { until } from "../support/until.ts";
import { createScreen, type Screen } from "../support/screen.ts";

// Each console is a process, and looks at the gateway every two seconds; on a busy machine that takes its time.
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
  /** Presses these keys and waits until the screen shows this. */
  pressed(keys: string, text: string | RegExp): Promise<unknown>;
};

type Options = {
  readonly cols?: number;
  readonly rows?: number;
  readonly socket?: string;
  readonly env?: Record<string, string>;
  readonly command?: readonly string[];
};

/** The real program in a pseudo-terminal. */
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

/** The same, once it shows what a daemon tells. */
async function live(options?: Options): Promise<Console> {
  const console = start(options);
  await console.shows("● live");
  return console;
}

/** Compares a screen with a golden one as soon as they are equal: a terminal hands on a frame in parts. */
async function looksLike(golden: string, screen: Screen): Promise<void> {
  await until(() => isGolden(golden, screen.text()), golden, 2_000).catch(() => {});
  expectGolden(golden, screen.text());
}

const [up, down] = ["\u001b[A", "\u001b[B"];

/** The beginning of the selected row of this tool. */
const selected = (tool: string): RegExp => new RegExp(`▸ \\S+ +agent +${tool} `);

test("R125: calls, servers, consumers and a record in full, each as it was", async () => {
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

test("where calls are not counted the console shows no number of them", async () => {
  await using daemon = await startDaemon({ servers: [], policies: [], usage: { enabled: false } });
  const { place } = daemon;
  const key = await place.key("agent");
  await daemon.call("none__such", {}, key);
  const { shows, pressed } = await live({ socket: path.join(place.state, "control.sock") });
  await pressed("3", "CALLS 24h");
  await shows("▸ agent                        -        -        -     0     1 user");
});

test("the console names a chain of which it cannot read the records", async () => {
  await using daemon = await startDaemon({ servers: [], policies: [] });
  const { state } = daemon.place;
  writeFileSync(path.join(state, "audit/serve-1.db"), "rubbish");
  const { shows } = await live({ socket: path.join(state, "control.sock") });
  await shows("records of chain serve-1 cannot be read; see `mcpgw audit verify`");
});

test("the selected row stays selected while newer ones come, and Enter opens that one", async () => {
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

test("keys that come in one read are all taken", async () => {
  const { screen, pressed } = await live();
  await pressed("jjj", "▸ 12:00:03.000");
  await pressed("kjk/files denied\r", "/ files denied\n");
  await until(() => !screen.text().includes("read_file"), "other rows are gone");
  await pressed("22", "RESTARTS");
  await pressed("\t", "KEYS");
});

test("of a file that was pasted by mistake only the beginning counts, and the rest of its first line's filter is left out", async () => {
  const { screen, pressed } = await live();
  await pressed(`2${"x".repeat(250)}q`, "RESTARTS");
  await pressed("1", "TOOK");
  await pressed("/files denied\rread\r", "/ files denied\n");
  await pressed("2", "RESTARTS");
  await pressed("1", "/ files denied\n");
  expect(screen.text()).not.toContain("Record");
});

test("R125: Enter shows a server in full, also where its row is too narrow for the reason", async () => {
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

test("a filter and its Enter that come in one read are both taken, even if it names a key, and one that nothing matches says so", async () => {
  const { screen, shows, pressed } = await live();
  await pressed("/", "type to filter");
  await pressed("backspace\r", "nothing matches the filter");
  await shows("/ backspace\n");
  await shows("p pause");
  expect(screen.text()).not.toContain("u{d}");
  expect(screen.text()).not.toContain("no calls yet");
  await pressed("/\u0085\r", "/ backspace\\u{85}\n");
});

test("the console says that it is not connected instead of that there is nothing", async () => {
  const { screen, shows, pressed } = start({ socket: path.join(program.directory, "\u001b[2J.sock") });
  await shows("not connected");
  await shows("\\u{1b}[2J.sock");
  expect(screen.text()).not.toContain("no calls yet");
  for (const [key, title] of screens.slice(1)) {
    await pressed(key, title);
    await shows("not connected");
  }
});

test("a filter shows what has all its words, and Esc ends it", async () => {
  const { screen, press, pressed } = await live();
  await pressed("/", "type to filter");
  for (const typed of ["z", "zz"]) await pressed("z", `/ ${typed}▏`);
  // Backspace and Delete.
  await pressed("\u007f\u001b[3~", "/ ▏");
  for (const key of "files denied") press(key);
  await until(() => !screen.text().includes("read_file"), "other rows are gone");
  await looksLike("tui/filter.txt", screen);
  await pressed("\r", "Enter record");
  await pressed("\u001b", "read_file");
});

test("p pauses, and Ctrl-P and Alt-P are other keys", async () => {
  const { screen, press, pressed } = await live();
  // Among others that come in one read, so that it is taken for no text.
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

test("a narrow terminal keeps what matters, and a resize is followed", async () => {
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

test("on a low terminal the selected row is in view, from the first one to the last", async () => {
  const { shows, pressed } = await live({ rows: 7 });
  const isFirst = /TIME.*\n▸ /;
  await shows(isFirst);
  const [pageUp, pageDown] = ["\u001b[5~", "\u001b[6~"];
  await pressed(pageDown.repeat(9), "▸ 12:00:01");
  await pressed(pageUp.repeat(9), isFirst);
});

test("survives a restart of the daemon: says so, keeps what it has, and goes on by itself", async () => {
  const { screen, shows } = await live();
  await program.stop();
  await shows("● lost");
  expect(screen.text()).toContain("trying again");
  expect(screen.text()).toContain("delete_file");
  await program.start("stays");
  await shows("● live");
  expect(screen.text()).not.toContain("trying again");
});

test("a daemon that hangs is not shown as live, and its records say that it is waited for", async () => {
  const { shows, pressed } = await live();
  program.hang(true);
  await pressed("\r", "asking the daemon…");
  await shows(/● NOT ANSWERING since \d\d:\d\d:\d\d\n the daemon does not answer; trying again/);
  await shows("Record main/6\nthe daemon does not answer");
  program.hang(false);
  await shows("● live");
});

const screens = ["1", "2", "3"].map((key, index) => [key, ["TOOK", "RESTARTS", "KEYS"][index] ?? ""] as const);

test("a gateway that refuses everything is not shown as live on any screen, and its recovery is seen", async () => {
  const { screen, shows, press, pressed } = await live();
  expect(await program.run(["keys", "freeze"])).toMatchObject({ code: 0 });
  for (const [key, title] of screens) {
    await pressed(key, title);
    await shows("● FROZEN");
    await shows("every caller is refused; `mcpgw keys unfreeze` ends it");
  }
  await pressed("1", "TOOK");
  await looksLike("tui/frozen.txt", screen);
  await pressed("p", "● FROZEN, paused");
  press("p");
  await program.run(["keys", "unfreeze"]);
  await shows("● live");
  expect(screen.text()).not.toContain("refused;");
});

test("a gateway that is not ready says so, also after a restart, until it is over", async () => {
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

test("Ctrl-Z gives the terminal back to the shell until the console goes on, each time", async () => {
  const stopped = (time: number) => `stty -a | grep -o '.icanon' | sed s/^/${time}/; read -r line; fg`;
  // A script around it stops with it.
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

test("a console that was stopped while its terminal changed its size fits it when it goes on", async () => {
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

test("a console that was stopped by force takes the terminal back when it goes on", async () => {
  const { screen, child } = await live();
  child.kill("SIGSTOP");
  // As a shell does.
  screen.write("\u001b[?1049l");
  expect(screen.alternate).toBe(false);
  child.kill("SIGCONT");
  await until(() => screen.alternate, "the terminal is taken back");
});

test("R125: colours appear unless NO_COLOR asks for none", async () => {
  const { screen } = await live();
  expect(screen.colored).toBe(true);
  running?.child.kill("SIGKILL");
  const plain = start({ env: { NO_COLOR: "1" } });
  await plain.shows("● live");
  expect(plain.screen.colored).toBe(false);
});

test("R125: each column has the tone of what it shows", async () => {
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
])("a terminal that cannot be drawn on is left as it is: tui %s with %o", async (redirected, env) => {
  const { screen, shows, child } = start({ env, command: ["sh", "-c", `${mcpgwLine("tui")} ${redirected}`] });
  await shows("tui needs an interactive terminal");
  expect(await child.exited).toBe(2);
  expect(screen).toMatchObject({ alternate: false, cursor: true });
});

test("starts without a daemon and finds it when it comes", async () => {
  await program.stop();
  const { shows } = start();
  await shows("no daemon answers");
  await program.start("stays");
  await shows("● live");
});
