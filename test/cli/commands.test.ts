import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { capture } from "../../scripts/lib/capture.ts";
import { expectGolden } from "../support/golden.ts";
import { mcpgw, mcpgwLine } from "../support/mcpgw.ts";
import { mayBecomeNobody } from "../support/processes.ts";
import { bareEnv, sample } from "../support/sample.ts";

setDefaultTimeout(30_000);

const program = sample();
beforeAll(() => program.start());
afterAll(() => program.close());

/** The help of a command, and of all that this names below it. */
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

test("help with the words of a command prints what its --help prints", async () => {
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

/** Runs a command, plain and for JSON, which exits so and prints what it printed before. */
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

test.each(printing)("%s T58: %s prints what it printed before, without a control character", (_ids, words) =>
  expectPrinted(words, 0),
);

test.each([
  [0, "why agent-prod files:read_file"],
  [1, "why agent-dev files:read_file"],
  [1, "why agent-prod files:gone --kind tool"],
])("exit %p: %s says who may and why", (code, words) => expectPrinted(words, code));

test("T58: a warning of a file that cannot be read shows no control character of its name either", async () => {
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
  "R25: audit log takes %s, which is written, as a type of record",
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

describe("a wrong line does nothing, exits 2 and names the nearest", () => {
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
    ["tail --since yesterday", '--since: "yesterday" is no time'],
    ["tail --status refused", '--status: "refused" is none of'],
    ["tail extra", 'tail takes no further argument: "extra"'],
    ["tail --json --json", "--json is given twice"],
    ["tail --json=yes", "--json takes no value"],
    ["servers logs files -f=yes", "-f takes no value"],
    ["keys create onlyname", "keys create needs CONSUMER ROLES"],
    ["keys create a b c d", 'keys create takes no further argument: "d"'],
    ["keys create a b c --expires 2001-01-01", "has passed already"],
    ["keys create a b c --expires 99999999d", "over 100 years ahead"],
    ["keys create a b c --expires 2027-02-31", '"2027-02-31" is no time'],
    ["audit log --type bogus", '--type: "bogus" is no type of record'],
    ["audit log --type call.bogus", '--type: "call.bogus" is no type'],
    ["audit log --type key.bogus*", "there are call*, session*, auth*, clock*, audit*, checkpoint*, admin*, key*"],
    ["audit show main/0", '"main/0" is no record; write its number'],
    ["why agent-prod", "why needs TARGET"],
    ["why a b:c --kind server", '--kind: "server" is none of tool, prompt, resource'],
    ["why a b:c --kind tools", "did you mean tool?"],
    ["why a b:c --args [1]", "--args: expected one JSON object"],
    ["keys create a b c --rate fast", '--rate: "fast" is not a rate'],
    ["keys create a b/c d", "CONSUMER: an id consists of letters"],
    ["keys create a b ,", 'ROLES: "," names none'],
    ["keys create a b c --cidr 10.0.0.0/8,10.0.0.0/99", "--cidr 10.0.0.0/99: not a network"],
    ["keys create a b c --cidr ,", '--cidr: "," names none'],
    ["usage --by week", '"week" is none of consumer, server, tool, tag, day, hour'],
    ["audit log --limit many", '--limit: "many" is no whole number from 1 to 10000'],
    ["audit log --since 2h --until 3h", "--until 3h is not after --since 2h"],
    ["audit stats --since 2026-02-01 --until 2026-01-01", "--until 2026-01-01 is not after"],
    ["audit export --since 1h --until 1h", "--until 1h is not after"],
    ["usage --since 1h --until 2h", "--until 2h is not after"],
    ["usage --csv --json", "--csv and --json exclude each other"],
    ["tail --status bogus", "success, error, denied, rate-limited, ok, tool_error"],
    ["audit show last", '"last" is no record'],
    ["audit show 12x", '"12x" is no record'],
    ["audit verify --checkpoint nowhere", "there is no nowhere"],
    ["tools call files:read_file path", '"path" is no KEY=VALUE'],
    ["tools call files:read_file =path", '"=path" is no KEY=VALUE'],
    ["tools call files:read_file --args [1]", "one JSON object"],
    ["tools call files:read_file --args {} a=1", "give the arguments once"],
    ["tools call files:read_file --args-file nowhere", "--args-file: there is no file nowhere"],
    ["audit export --out nowhere/x", "--out: there is no directory nowhere"],
    ["builtin abacus", 'there is no built-in server "abacus"'],
    ["tui", "tui needs a terminal"],
    ["tui --json", "tui prints no JSON"],
    ["keys -- freeze surplus --socket /nope", 'keys freeze takes no further argument: "surplus"'],
    ["keys -- freeze --socket /nope", 'keys freeze takes no further argument: "--socket"'],
    ["keys -- frieze", 'unknown command "keys frieze"; did you mean freeze?'],
    ["status -- --", 'status takes no further argument: "--"'],
    ["status -- extra", 'status takes no further argument: "extra"'],
    ["--no-colour status", "unknown flag --no-colour; did you mean --no-color?"],
  ])("mcpgw %s", async (words, message) => {
    const { code, out, err } = await program.run(words.split(" "));
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain(message);
  });
});

test("R26 T58: usage --csv prints no control character either", async () => {
  const { code, out, err } = await program.run(["usage", "--csv", "--by", "day"]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expectGolden("cli/usage-csv-by-day.txt", ["$ mcpgw usage --csv --by day", out].join("\n"));
});

test("what --status takes is named once each", async () => {
  const { err } = await program.run(["audit", "log", "--status", "bogus"]);
  const named = /is none of (.*)/.exec(err)?.[1]?.split(", ") ?? [];
  expect(named).toContain("denied");
  expect(named).toEqual([...new Set(named)]);
});

test.skipIf(!mayBecomeNobody)(
  "without HOME, a user who has no home is told to set it (needs setpriv as root)",
  async () => {
    const user = ["setpriv", "--reuid=23456", "--regid=23456", "--clear-groups"];
    const cache = { BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" };
    const env = { PATH: process.env["PATH"] ?? "", ...cache };
    const { code, err } = await capture([...user, ...mcpgw, "keys", "list"], { cwd: "/", env });
    expect(err).toContain("HOME is not set, and uid 23456 has no home directory; set HOME");
    expect(code).toBe(1);
  },
);

test("global flags work on both sides of the command", async () => {
  const before = await program.run(["--json", "--socket", program.socket, "keys", "list"]);
  const after = await program.run(["keys", "list", `--socket=${program.socket}`, "--json"]);
  const between = await program.run(["keys", "--json", "list"]);
  expect(before.code).toBe(0);
  expect(after).toEqual(before);
  expect(between.out).toBe(before.out);
  // What follows is a word, though it may look like a flag.
  expect(await program.run(["--json", "--", "keys", "list"])).toEqual(before);
});

test("a flag outranks the environment, the environment the file", async () => {
  const config = path.join(program.directory, "other.yaml");
  writeFileSync(config, `control: { socket: ${program.socket} }\n`);
  const lost = { MCPGW_SOCKET: path.join(program.directory, "none.sock") };
  const byFile = await program.run(["--config", config, "servers", "list"], { env: { MCPGW_SOCKET: "" } });
  const byEnv = await program.run(["--config", config, "servers", "list"], { env: lost });
  const byFlag = await program.run(["--socket", program.socket, "servers", "list"], { env: lost });
  const byOldEnv = await program.run(["servers", "list"], { env: { MCPGW_SOCKET: "", MCP_GATEWAY_CONFIG: config } });
  expect([byFile.code, byEnv.code, byFlag.code, byOldEnv.code]).toEqual([0, 4, 0, 0]);
});

test("without a daemon it exits 4 and says how to start one; a refusal exits 1", async () => {
  const none = await program.run(["servers", "list", "--socket", path.join(program.directory, "none.sock")]);
  expect(none).toMatchObject({ code: 4, out: "" });
  expect(none.err).toContain("mcpgw daemon");
  const refused = await program.run(["servers", "show", "nope"]);
  expect(refused).toEqual({ code: 1, out: "", err: 'mcpgw: there is no server "nope"\n' });
});

test("arguments of a call travel as they were written", async () => {
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

test("a server that has written nothing is told from one whose lines were shown", async () => {
  const said = "crm has written nothing to its standard error\n";
  expect(await program.run(["servers", "logs", "crm"])).toEqual({ code: 0, out: "", err: said });
});

/** Runs a line of a shell in which `mcpgw` is this program. */
const shell = (line: string) =>
  capture(["bash", "-c", `mcpgw() { ${mcpgwLine()} "$@"; }; ${line}`], {
    env: { ...bareEnv(program.directory), MCPGW_SOCKET: program.socket },
  });

test("a reader that has seen enough is no error", async () => {
  expect(await shell("set -o pipefail; mcpgw audit stats | head -n 1")).toEqual({
    out: "CHAIN  RECORDS\n",
    err: "",
    code: 0,
  });
});

// Both ends are open before the reading one is closed: whoever writes is too late for its reader.
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
])("the exit code of %s stands without a reader: %p, on a full disk: %p", async (words, left, full) => {
  expect(await shell(`${noReader}; mcpgw ${words}`)).toMatchObject({ code: left });
  expect(await shell(`mcpgw ${words} > /dev/full`)).toMatchObject({ code: full });
});

test.each(["--help", "--version", "--version --json", "keys list"])(
  "what cannot be written is one line and exit 1: %s",
  async (words) => {
    const { err, code } = await shell(`mcpgw ${words} > /dev/full`);
    expect({ code, lines: err.trim().split("\n").length }).toEqual({ code: 1, lines: 1 });
    expect(err).toContain("no space left");
  },
);

test
  .skipIf(process.platform !== "linux")
  .each(["--help", "--version", "--version --json", "keys list", "config schema"])(
  "a standard output that is closed is one line and exit 1, one that is thrown away none: %s (needs Linux)",
  async (words) => {
    const closed = { err: "mcpgw: standard output is closed\n", code: 1 };
    expect(await shell(`mcpgw ${words} >&-`)).toMatchObject(closed);
    expect(await shell(`mcpgw ${words} > /dev/null`)).toMatchObject({ err: "", code: 0 });
  },
);

test("an export goes into a new file that only its owner may read, never over another", async () => {
  const file = path.join(program.directory, "audit.jsonl");
  expect((await program.run(["audit", "export", "--out", file])).code).toBe(0);
  expect(readFileSync(file, "utf8")).toBe('{"rec":"{}","leaf":"ab"}\n');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const again = await program.run(["audit", "export", "--out", file]);
  expect(again.code).toBe(2);
  expect(again.err).toContain("is there already");
});

test("servers disable edits the file in place, keeps its comments, and enable undoes it", async () => {
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

test("--version says the version and nothing else", async () => {
  const { version } = await Bun.file(path.join(import.meta.dir, "../../package.json")).json();
  expect(await program.run(["--version"])).toEqual({ code: 0, out: `${version}\n`, err: "" });
  expect(await program.run(["keys", "create", "--version"])).toEqual({ code: 0, out: `${version}\n`, err: "" });
});

test("--json --version prints JSON", async () => {
  for (const words of ["--version --json", "--json --version"])
    expect(JSON.parse((await program.run(words.split(" "))).out)).toEqual({ version: expect.stringMatching(/^\d+\./) });
});
