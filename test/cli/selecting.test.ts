import { afterAll, beforeAll, expect, test } from "bun:test";
import type { OpenOptions } from "../../src/cli/cli.ts";
import { run } from "../support/command-line.ts";
import { reasonOf } from "../support/failure.ts";
import { sample } from "../support/sample.ts";

// What commands request from the daemon, and what they say about the selected records.

const program = sample();
beforeAll(() => program.start());
afterAll(() => program.close());

test("R25 R26: a selection without results says so, and names a value that no record has", async () => {
  const said = async (words: string): Promise<string> => {
    const { code, err } = await program.run(["--json", ...words.split(" ")]);
    expect(code).toBe(0);
    return err;
  };
  expect(await said("audit log --server crm --consumer intern-bot")).toBe("no record matches\n");
  expect(await said("audit log --server crm --consumer nobody")).toBe("no record so far has the consumer nobody\n");
  expect(await said("audit log --tool files:nope")).toBe("no record so far has the tool files:nope\n");
  expect(await said("usage nobody")).toBe("no record so far has the consumer nobody\n");
  expect(await said("usage intern-bot")).toBe("no call matches\n");
  expect(await said("audit log --server crm")).not.toContain("no record");
  expect(await said("tail --server crm")).toBe("");
  expect(await said("tail --server nope")).toBe("no record so far has the server nope\n");
});

test("R25: audit log says if older records also match, and only then", async () => {
  const cut = await program.run(["audit", "log", "--limit", "2"]);
  expect(cut.err).toContain("only the newest 2 are shown; use --limit or --until to see older ones\n");
  const listed = async (limit: number): Promise<unknown> =>
    JSON.parse((await program.run(["--json", "audit", "log", "--limit", String(limit)])).out);
  expect(await listed(5)).toMatchObject({ records: [{ seq: 2 }, {}, {}, {}, { seq: 6 }], more: true });
  expect(await listed(6)).toMatchObject({ more: false });
  expect((await program.run(["audit", "log"])).err).not.toContain("only the newest");
});

test("R26 usage by day says that its days are in UTC", async () => {
  const { out } = await program.run(["usage", "--by", "day"], { env: { TZ: "Pacific/Kiritimati" } });
  expect(out).toMatch(/^DAY \(UTC\) .*\n2026-03-01 /);
});

test("the value of an unknown flag is not repeated, since it may be a secret", async () => {
  const wrong = await reasonOf(run("keys list --toekn=secret", () => ({})));
  expect(String(wrong)).toContain("unknown flag --toekn");
  expect(String(wrong)).not.toContain("secret");
});

const selection = "--consumer a --server s --tool t --status denied";
const selected = { consumer: "a", server: "s", tool: "t", status: "denied" };
const period = "--since 2026-01-01T00:00Z --until 2026-01-02T00:00Z";
const [since, until] = ["2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"];
const offline = { offline: true };
const key = { name: "A", consumerId: "agent", roles: ["user", "admin"] };

test.each<[line: string, how: OpenOptions | undefined, asked: object]>([
  [`tail ${selection} --since 2026-01-01T00:00Z`, undefined, { ...selected, since }],
  [
    `audit log ${selection} ${period} --type key.* --limit 7`,
    offline,
    { ...selected, type: "key.*", since, until, limit: 7 },
  ],
  ["audit show 12", offline, { chain: undefined, seq: 12, payloads: false }],
  ["audit show serve-1/12 --payloads", offline, { chain: "serve-1", seq: 12, payloads: true }],
  [`audit stats ${period}`, offline, { since, until }],
  ["audit verify", offline, { checkpoints: [], pubkey: undefined }],
  [`audit export --chain serve-1 ${period} --payloads`, offline, { chain: "serve-1", since, until, payloads: true }],
  [`usage a --by tool ${period}`, offline, { consumer: "a", by: "tool", since, until }],
  ["servers logs s --lines 7", undefined, { id: "s", lines: 7 }],
  ["servers logs s --lines 7 -f", undefined, { id: "s", lines: 7 }],
  ["tools list --server=--s", undefined, { server: "--s" }],
  ["tools call s:t a=1 b=x", undefined, { tool: "s:t", arguments: '{"a":1,"b":"x"}' }],
  ['why a s:t --kind tool --args {"b":1}', undefined, { who: "a", target: "s:t", kind: "tool", arguments: { b: 1 } }],
  ["keys list", offline, {}],
  ["keys revoke k", offline, { id: "k" }],
  ["keys rotate k", offline, { id: "k" }],
  ["keys freeze", offline, {}],
  ["keys unfreeze", offline, {}],
  ["servers restart s", undefined, { id: "s" }],
  ["config reload", { local: true }, {}],
  ["config show --running", { local: true }, {}],
  ["keys create - agent user,,admin,", offline, { ...key, name: "-", expiresAt: null, perMinute: null, cidrs: [] }],
  [
    "keys create A agent user,admin --expires 2099-01-01T00:00Z --rate 90 --cidr 10.0.0.0/8,::1/128",
    offline,
    { ...key, expiresAt: Date.UTC(2099, 0, 1), perMinute: 90, cidrs: ["10.0.0.0/8", "::1/128"] },
  ],
])("every flag is sent to the daemon: %s", async (text, how, asked) => {
  let last: unknown;
  const { opened } = await run(text, (_name, input) => {
    last = input;
    throw new Error("this daemon has no answers");
  });
  expect([opened[0], last]).toEqual([how, asked]);
});

test("R123 tail says on a terminal that it follows the log", async () => {
  const said = async (terminal: boolean) =>
    (await run("tail", (name) => (name === "tail" ? [] : { records: [] }), { terminal })).err;
  expect(await said(true)).toContain("following the audit log; press Ctrl-C to stop\n");
  expect(await said(false)).toBe("");
});
