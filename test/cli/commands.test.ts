import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { capture } from "../../scripts/lib/capture.ts";
import { expectGolden } from "../support/golden.ts";
import { mcpgw, mcpgwLine } from "../support/mcpgw.ts";
import { canBecomeNobody } from "../support/processes.ts";
import { bareEnv, sample } from "../support/sample.ts";

setDefaultTimeout(30_000);

const program = sample();
beforeAll(() => program.start());
afterAll(() => program.close());

/** The help of a command and of all its subcommands. */
async function helpOf(path: readonly string[]): Promise<string[]> {
  const { code, out, err } = await program.run([...path, "--help"]);
  expect({ path, code, err }).toEqual({ path, code: 0, err: "" });
  const texts = [`$ mcpgw ${path.join(" ")} --help\n${out}`];
  for (const [, name = ""] of out.split("\nCOMMANDS\n")[1]?.matchAll(/^ {2}(\S+) /gm) ?? [])
    texts.push(...(await helpOf([...path, name])));
  return texts;
}

test("help of every command and group", async () => {
  expectGolden("cli/help.txt", (await helpOf([])).join("\n"));
});

test("help COMMAND prints the same as COMMAND --help", async () => {
  for (const words of [[], ["keys"], ["keys", "create"]])
    expect(await program.run(["help", ...words])).toEqual(await program.run([...words, "--help"]));
  // Nothing runs, even if what follows would be a complete command line.
  const create = await program.run(["keys", "create", "--help"]);
  expect(await program.run(["help", "keys", "--", "create", "A", "agent"])).toEqual(create);
});

const printing = [
  ["R24", "servers list"],
  ["R24", "servers show files"],
  ["R24", "servers show crm"],
  ["R20", "status"],
  ["R123", "tail"],
  ["R23", "keys list"],
  ["R88", "tools list"],
  ["R11 R25", "audit log"],
  ["R25", "audit show 3"],
  ["R25", "audit show 3 --payloads"],
  ["R25", "audit stats"],
  ["R25", "audit verify"],
  ["R25", "audit export --jsonl"],
  ["R26", "usage"],
  ["R26", "usage --by tag"],
  ["R24", "servers logs files"],
  ["R24", "servers logs files -f"],
  ["R24", "servers restart files"],
  ["R23", "keys create Dev agent-dev reader,writer"],
  ["R23", "keys revoke key-1"],
  ["R23", "keys rotate key-1"],
  ["R23", "keys freeze"],
  ["R23", "keys unfreeze"],
  ["R88", "tools call files:read_file path=/etc/hosts lines=3"],
  ["R120", "config reload"],
  ["R120", "config show --running"],
];

/** Runs a command with and without --json, and compares its exit code and output with the golden file. */
async function expectPrinted(words: string, code: number): Promise<void> {
  const args = words.split(" ");
  const plain = await program.run(args);
  const json = await program.run(["--json", ...args]);
  expect([plain.code, json.code]).toEqual([code, code]);
  expect(plain.out + plain.err).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  for (const text of json.out.trim().split(/\n(?=\{)/)) JSON.parse(text);
  const name = words.replaceAll(/[^a-z0-9]+/gi, "-");
  expectGolden(
    `cli/${name}.txt`,
    [`$ mcpgw ${words}`, plain.out, "# standard error", plain.err, `$ mcpgw --json ${words}`, json.out].join("\n"),
  );
}

test.each(printing)("%s T58: %s matches its golden output and prints no control characters", (_ids, words) =>
  expectPrinted(words, 0),
);

test.each([
  [0, "why agent-prod files:read_file"],
  [1, "why agent-dev files:read_file"],
  [1, "why agent-prod files:gone --kind tool"],
])("exit %p: %s says who may and why", (code, words) => expectPrinted(words, code));

test("T58: a warning about an unreadable file shows no control characters of its name", async () => {
  const file = path.join(program.directory, "torn\u001b[2J.yaml");
  writeFileSync(file, "control: [\n");
  const options = ["--config", file, "--state", program.directory];
  for (const words of [["servers", "list"], ["serve"]]) {
    const { err } = await program.run([...words, ...options], { env: { MCPGW_SOCKET: "" } });
    expect(err).toStartWith("mcpgw: warning: could not read the socket from");
    expect(err).toContain("torn\\u{1b}[2J.yaml");
  }
});

test.each(["session.input", "checkpoint.torn", "checkpoint*", "key.*"])(
  "R25: audit log accepts %s as a record type",
  async (type) => {
    expect(await program.run(["audit", "log", "--type", type])).toMatchObject({ code: 0, err: "" });
  },
);

/** A key for which the sample server answers `audit.verify` with this exit code. */
const keyFor = (exit: number): string => `${exit}${"A".repeat(42)}=`;

test.each([
  [1, "TAMPERED"],
  [2, "UNREADABLE"],
  [3, "NOT PROVEN"],
])("R25: audit verify exits %p and says %s", async (exit, word) => {
  const { code, out } = await program.run(["audit", "verify", "--pubkey", keyFor(exit)]);
  expect(code).toBe(exit);
  expect(out).toContain(word);
  expect(out.includes("record 7: edited")).toBe(exit !== 3);
});

describe("an invalid command line does nothing, exits 2 and suggests the nearest word", () => {
  test.each([
    ["statsu", 'unknown command "statsu"; did you mean status?'],
    ["keys lst", 'unknown command "keys lst"; did you mean list?'],
    ["server list", 'unknown command "server"; did you mean servers?'],
    ["keys", ""],
    ["constructor", 'unknown command "constructor"'],
    ["tail --sicne 5m", "unknown flag --sicne; did you mean --since?"],
    ["tail --since", "--since needs a value"],
    ["tail --since --json", "--since needs a value"],
    ["tail --consumer=", "--consumer needs a value"],
    ["tail --since yesterday", '--since: "yesterday" is not a time'],
    ["tail --status refused", '--status: "refused" is not one of'],
    ["tail extra", 'tail: unexpected argument "extra"'],
    ["tail --json --json", "--json is given twice"],
    ["tail --json=yes", "--json takes no value"],
    ["servers logs files -f=yes", "-f takes no value"],
    ["keys create onlyname", "keys create needs CONSUMER ROLES"],
    ["keys create a b c d", 'keys create: unexpected argument "d"'],
    ["keys create a b c --expires 2001-01-01", "is in the past"],
    ["keys create a b c --expires 99999999d", "more than 100 years from now"],
    ["keys create a b c --expires 2027-02-31", '"2027-02-31" is not a time'],
    ["audit log --type bogus", '--type: "bogus" is not a record type'],
    ["audit log --type call.bogus", '--type: "call.bogus" is not a record type'],
    ["audit log --type key.bogus*", "types are call*, session*, auth*, clock*, audit*, checkpoint*, admin*, key*"],
    ["audit show main/0", '"main/0" is not a record; write its number'],
    ["why agent-prod", "why needs TARGET"],
    ["why a b:c --kind server", '--kind: "server" is not one of tool, prompt, resource'],
    ["why a b:c --kind tools", "did you mean tool?"],
    ["why a b:c --args [1]", "--args: expected one JSON object"],
    ["keys create a b c --rate fast", '--rate: "fast" is not a rate'],
    ["keys create a b/c d", "CONSUMER: an id consists of letters"],
    ["keys create a b ,", 'ROLES: "," is an empty list'],
    ["keys create a b c --cidr 10.0.0.0/8,10.0.0.0/99", "--cidr 10.0.0.0/99: not a network"],
    ["keys create a b c --cidr ,", '--cidr: "," is an empty list'],
    ["usage --by week", '"week" is not one of consumer, server, tool, tag, day, hour'],
    ["audit log --limit many", '--limit: "many" is not a whole number from 1 to 10000'],
    ["audit log --since 2h --until 3h", "--until 3h is not after --since 2h"],
    ["audit stats --since 2026-02-01 --until 2026-01-01", "--until 2026-01-01 is not after"],
    ["audit export --since 1h --until 1h", "--until 1h is not after"],
    ["usage --since 1h --until 2h", "--until 2h is not after"],
    ["usage --csv --json", "--csv and --json are mutually exclusive"],
    ["tail --status bogus", "success, error, denied, rate-limited, ok, tool_error"],
    ["audit show last", '"last" is not a record'],
    ["audit show 12x", '"12x" is not a record'],
    ["audit verify --checkpoint nowhere", "nowhere does not exist"],
    ["tools call files:read_file path", '"path" is not of the form KEY=VALUE'],
    ["tools call files:read_file =path", '"=path" is not of the form KEY=VALUE'],
    ["tools call files:read_file --args [1]", "one JSON object"],
    ["tools call files:read_file --args {} a=1", "give the arguments only once"],
    ["tools call files:read_file --args-file nowhere", "--args-file: file nowhere does not exist"],
    ["audit export --out nowhere/x", "--out: directory nowhere does not exist"],
    ["builtin abacus", '"abacus" is not a built-in server'],
    ["tui", "tui needs an interactive terminal"],
    ["tui --json", "tui cannot print JSON"],
    ["keys -- freeze surplus --socket /nope", 'keys freeze: unexpected argument "surplus"'],
    ["keys -- freeze --socket /nope", 'keys freeze: unexpected argument "--socket"'],
    ["keys -- frieze", 'unknown command "keys frieze"; did you mean freeze?'],
    ["status -- --", 'status: unexpected argument "--"'],
    ["status -- extra", 'status: unexpected argument "extra"'],
    ["--no-colour status", "unknown flag --no-colour; did you mean --no-color?"],
  ])("mcpgw %s", async (words, message) => {
    const { code, out, err } = await program.run(words.split(" "));
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain(message);
  });
});

test("R26 T58: usage --csv prints no control characters", async () => {
  const { code, out, err } = await program.run(["usage", "--csv", "--by", "day"]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expectGolden("cli/usage-csv-by-day.txt", ["$ mcpgw usage --csv --by day", out].join("\n"));
});

test("an invalid --status lists each valid value once", async () => {
  const { err } = await program.run(["audit", "log", "--status", "bogus"]);
  const named = /is not one of (.*)/.exec(err)?.[1]?.split(", ") ?? [];
  expect(named).toContain("denied");
  expect(named).toEqual([...new Set(named)]);
});

test.skipIf(!canBecomeNobody)(
  "a user without a home directory and HOME is told to set HOME (needs setpriv as root)",
  async () => {
    const user = ["setpriv", "--reuid=23456", "--regid=23456", "--clear-groups"];
    const cache = { BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" };
    const env = { PATH: process.env["PATH"] ?? "", ...cache };
    const { code, err } = await capture([...user, ...mcpgw, "keys", "list"], { cwd: "/", env });
    expect(err).toContain("HOME is not set, and uid 23456 has no home directory; set HOME");
    expect(code).toBe(1);
  },
);

test("global flags work before and after the command", async () => {
  const before = await program.run(["--json", "--socket", program.socket, "keys", "list"]);
  const after = await program.run(["keys", "list", `--socket=${program.socket}`, "--json"]);
  const between = await program.run(["keys", "--json", "list"]);
  expect(before.code).toBe(0);
  expect(after).toEqual(before);
  expect(between.out).toBe(before.out);
  // Everything after `--` is a word, even if it looks like a flag.
  expect(await program.run(["--json", "--", "keys", "list"])).toEqual(before);
});

test("a flag takes precedence over the environment, and the environment over the file", async () => {
  const config = path.join(program.directory, "other.yaml");
  writeFileSync(config, `control: { socket: ${program.socket} }\n`);
  const lost = { MCPGW_SOCKET: path.join(program.directory, "none.sock") };
  const byFile = await program.run(["--config", config, "servers", "list"], { env: { MCPGW_SOCKET: "" } });
  const byEnv = await program.run(["--config", config, "servers", "list"], { env: lost });
  const byFlag = await program.run(["--socket", program.socket, "servers", "list"], { env: lost });
  const byOldEnv = await program.run(["servers", "list"], { env: { MCPGW_SOCKET: "", MCP_GATEWAY_CONFIG: config } });
  expect([byFile.code, byEnv.code, byFlag.code, byOldEnv.code]).toEqual([0, 4, 0, 0]);
});

test("without a daemon a command exits 4 and says how to start one; a refusal exits 1", async () => {
  const none = await program.run(["servers", "list", "--socket", path.join(program.directory, "none.sock")]);
  expect(none).toMatchObject({ code: 4, out: "" });
  expect(none.err).toContain("mcpgw daemon");
  const refused = await program.run(["servers", "show", "nope"]);
  expect(refused).toEqual({ code: 1, out: "", err: 'mcpgw: there is no server "nope"\n' });
});

test("arguments of a call are sent as they were written", async () => {
  const digits = '{"n":12345678901234567890,"price":1.10}';
  const called = await program.run(["tools", "call", "a:b", "--args", digits]);
  expect(called.out).toBe(`${digits}\n`);
  const piped = await program.run(["tools", "call", "a:b", "--args-file", "-"], { stdin: digits });
  expect(piped.out).toBe(called.out);
  const pairs = await program.run(["tools", "call", "a:b", "n=12345678901234567890", "s=two words", "x=a=b", 'q"="5"']);
  expect(pairs.out).toBe('{"n":12345678901234567890,"s":"two words","x":"a=b","q\\"":"5"}\n');
});

test("arguments from a file that is not UTF-8 are refused instead of changed", async () => {
  const file = path.join(program.directory, "latin1.json");
  await Bun.write(file, Buffer.from('{"text":"\xff"}', "latin1"));
  const refused = await program.run(["tools", "call", "a:b", "--args-file", file]);
  expect(refused).toMatchObject({ code: 2, out: "" });
  expect(refused.err).toContain(`mcpgw: ${file}: the arguments are not valid UTF-8`);
});

test("servers logs says so if a server has written nothing", async () => {
  const said = "crm has written nothing to its standard error\n";
  expect(await program.run(["servers", "logs", "crm"])).toEqual({ code: 0, out: "", err: said });
});

/** Runs a shell command line in which `mcpgw` is this program. */
const shell = (line: string) =>
  capture(["bash", "-c", `mcpgw() { ${mcpgwLine()} "$@"; }; ${line}`], {
    env: { ...bareEnv(program.directory), MCPGW_SOCKET: program.socket },
  });

test("a reader that stops early is not an error", async () => {
  expect(await shell("set -o pipefail; mcpgw audit stats | head -n 1")).toEqual({
    out: "CHAIN  RECORDS\n",
    err: "",
    code: 0,
  });
});

// Both ends are open before the reading end is closed, so every write fails.
const noReader = "fifo=$(mktemp -u); mkfifo $fifo; exec 3<>$fifo 4>$fifo 3<&-; rm $fifo; exec 1>&4";

test.each([
  ["audit verify", 0, 2],
  ["audit verify --json", 0, 2],
  [`audit verify --pubkey ${keyFor(1)}`, 1, 1],
  [`audit verify --pubkey ${keyFor(2)}`, 2, 2],
  [`audit verify --pubkey ${keyFor(3)}`, 3, 2],
  ["why agent-dev files:read_file", 1, 1],
  ["why agent-prod files:read_file --json", 0, 1],
  ["tools call a:b n=1", 0, 1],
  ["tools call a:b n=1 --json", 0, 1],
  ["keys list", 0, 1],
  ["keys create name consumer role", 1, 1],
  ["audit export", 1, 1],
])("the exit code of %s without a reader is %p, and on a full disk %p", async (words, left, full) => {
  expect(await shell(`${noReader}; mcpgw ${words}`)).toMatchObject({ code: left });
  expect(await shell(`mcpgw ${words} > /dev/full`)).toMatchObject({ code: full });
});

test.each(["--help", "--version", "--version --json", "keys list"])(
  "a failed write is reported in one line with exit 1: %s",
  async (words) => {
    const { err, code } = await shell(`mcpgw ${words} > /dev/full`);
    expect({ code, lines: err.trim().split("\n").length }).toEqual({ code: 1, lines: 1 });
    expect(err).toContain("no space left");
  },
);

test
  .skipIf(process.platform !== "linux")
  .each(["--help", "--version", "--version --json", "keys list", "config schema"])(
  "a closed standard output is reported in one line with exit 1, and /dev/null is not: %s (needs Linux)",
  async (words) => {
    const closed = { err: "mcpgw: standard output is closed\n", code: 1 };
    expect(await shell(`mcpgw ${words} >&-`)).toMatchObject(closed);
    expect(await shell(`mcpgw ${words} > /dev/null`)).toMatchObject({ err: "", code: 0 });
  },
);

test("an export goes to a new file that only its owner may read, and never replaces a file", async () => {
  const file = path.join(program.directory, "audit.jsonl");
  expect((await program.run(["audit", "export", "--out", file])).code).toBe(0);
  expect(readFileSync(file, "utf8")).toBe('{"rec":"{}","leaf":"ab"}\n');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const again = await program.run(["audit", "export", "--out", file]);
  expect(again.code).toBe(2);
  expect(again.err).toContain("already exists");
});

test("servers disable edits the file in place and keeps its comments, and enable undoes the edit", async () => {
  const file = path.join(program.directory, "edit.yaml");
  const text =
    "# mine\nservers:\n  - id: files # the files\n    command: npx\n  - {id: crm, url: http://127.0.0.1:1/mcp}\n";
  writeFileSync(file, text);
  const none = ["--config", file, "--socket", path.join(program.directory, "none.sock")];
  expect((await program.run(["servers", "disable", "files", ...none])).code).toBe(0);
  expect(readFileSync(file, "utf8")).toBe(
    "# mine\nservers:\n  - id: files # the files\n    enabled: false\n    command: npx\n  - {id: crm, url: http://127.0.0.1:1/mcp}\n",
  );
  expect((await program.run(["servers", "disable", "crm", ...none])).code).toBe(0);
  expect(readFileSync(file, "utf8")).toContain("- {id: crm, enabled: false, url:");
  expect((await program.run(["servers", "enable", "files", ...none])).code).toBe(0);
  expect(readFileSync(file, "utf8")).toContain("    enabled: true\n    command: npx");
  expect((await program.run(["servers", "enable", "ghost", ...none])).code).toBe(1);
});

test("--version prints only the version", async () => {
  const { version } = await Bun.file(path.join(import.meta.dir, "../../package.json")).json();
  expect(await program.run(["--version"])).toEqual({ code: 0, out: `${version}\n`, err: "" });
  expect(await program.run(["keys", "create", "--version"])).toEqual({ code: 0, out: `${version}\n`, err: "" });
});

test("--json --version prints JSON", async () => {
  for (const words of ["--version --json", "--json --version"])
    expect(JSON.parse((await program.run(words.split(" "))).out)).toEqual({ version: expect.stringMatching(/^\d+\./) });
});
