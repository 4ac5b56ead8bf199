import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { run } from "../support/command-line.ts";
import { entry, sampleHandlers } from "../support/control-answers.ts";
import { serverStatus } from "../support/server-status.ts";
import { TempDir } from "../support/temp-dir.ts";

// The output for unusually full or sparse answers.

const escape = "\u001b[2J";
const shown = "\\u{1b}[2J";

test("R20 status says why a gateway is not ready, and that there is no checkpoint yet", async () => {
  const ready = await sampleHandlers().status({}, {} as never);
  const answer = { ...ready, notReady: "server crm is starting", audit: { ...ready.audit, checkpoint: null } };
  const { out } = await run("status", () => answer);
  expect(out).toMatch(/^state +not ready: server crm is starting$/m);
  expect(out).toMatch(/^checkpoint +none yet$/m);
});

test.each([
  ["192.0.2.7", "192.0.2.7"],
  [null, "not known: erased, changed since, or not stored because there were too many at once"],
])("R25 audit show shows the address %p once, with the begin record, and repeats nothing", async (address, shown) => {
  const begin = { seq: 1, rec: JSON.stringify({ seq: 1, tool: "read" }), payloads: null, fault: null };
  const rec = JSON.stringify({ seq: 2, tool: "read" });
  const rest = { leaf: "ab", payloads: null, fault: null, source: { src: "http:~q", address } };
  const lines = async (first: typeof begin | null) =>
    (await run("audit show 2 --payloads", () => ({ entry: entry({ seq: 2 }), rec, ...rest, begin: first }))).out
      .trimEnd()
      .split("\n")
      .map((line) => line.split(/ {2,}/));
  const end = [
    ["tool", "read"],
    ["record", "2"],
    ["hash", "ab"],
  ];
  expect(await lines(begin)).toEqual([...end, [""], ["began with record 1"], ["address", shown], ["record", "1"]]);
  expect(await lines(null)).toEqual([["tool", "read"], ["address", shown], ...end.slice(1)]);
});

const chain = { chain: "main", records: 12, first: 1, exit: 3, bad: null, checkpoint: null, notes: [] };
const checkpoint = { source: "kept", size: 10, at: null, after: 2, sameHost: true };

test.each([
  ["--checkpoint /dev/null", { ...chain, checkpoint }, "  it proves only as much as the place where it was kept: "],
  ["", { ...chain, records: 0, first: 5 }, "  no checkpoint; name one with --checkpoint"],
])("R25 audit verify %s says what %o proves", async (flags, of, says) => {
  const { out } = await run(`audit verify ${flags}`.trim(), () => ({ exit: 3, chains: [of], pubkey: null }));
  expect(out.trimEnd().split("\n").at(-1)).toStartWith(says);
});

test.each(["servers restart s", "servers restart s --json"])(
  "R24 %s fails if the server does not start, even if nobody reads the output",
  async (text) => {
    const answer = { server: serverStatus("s", { state: "backoff", reason: "exited with 1" }) };
    const { code, err } = await run(text, () => answer, { full: "left" });
    const waiting = "waiting until s is ready or has failed";
    expect([code, err]).toEqual([1, `${waiting}\nFailed: s could not be started: exited with 1\n`]);
  },
);

test.each(["tools call a:b", "tools call a:b --json"])(
  "R88 %s of a failed call fails, even if nobody reads the output",
  async (text) => {
    const result = JSON.stringify({ content: [{ type: "text", text: "bad" }], isError: true });
    const answer = { call: "c", status: "tool_error", result, error: null };
    expect(await run(text, () => answer, { full: "left" })).toMatchObject({ code: 1, out: "", err: "" });
  },
);

test("R88 tools list does not mention keys to a caller that gave one", async () => {
  const before = process.env["MCPGW_API_KEY"];
  process.env["MCPGW_API_KEY"] = "mcpgw_x";
  const { err } = await run("tools list", () => ({ tools: [] }));
  if (before === undefined) delete process.env["MCPGW_API_KEY"];
  else process.env["MCPGW_API_KEY"] = before;
  expect(err).toBe("this caller may use no tools\n");
});

test("R88 tools call sends the contents of a file without the final newline", async () => {
  using at = new TempDir();
  writeFileSync(at.path("args.json"), '{"n":1.10}\n');
  let asked: unknown;
  const answer = { call: "c", status: "ok", result: null, error: null };
  await run(`tools call a:b --args-file ${at.path("args.json")}`, (_name, input) => ((asked = input), answer));
  expect(asked).toEqual({ tool: "a:b", arguments: '{"n":1.10}' });
});

test("R25 audit verify reads the files in a directory, but not in its subdirectories", async () => {
  using at = new TempDir();
  mkdirSync(at.path("older"));
  writeFileSync(at.path("main.checkpoints"), "note");
  let asked: unknown;
  const ask = (_name: string, input: unknown) => ((asked = input), { exit: 3, chains: [], pubkey: null });
  expect(await run(`audit verify --checkpoint ${at.dir}`, ask)).toMatchObject({ code: 3, err: "" });
  expect(asked).toMatchObject({ checkpoints: [{ source: at.path("main.checkpoints"), text: "note" }] });
});

test("R25 audit stats says if a time range has no records, instead of printing empty tables", async () => {
  const none = { byType: {}, byStatus: {}, consumers: [], servers: [], tools: [] };
  const stats = (flags = "") =>
    run(`audit stats --until 2020-01-01${flags}`, () => ({ chains: [{ chain: "main", records: 0 }], ...none }));
  const err = "no records in that time range\n";
  expect(await stats()).toMatchObject({ code: 0, out: "", err });
  expect(await stats(" --json")).toMatchObject({ code: 0, out: expect.stringContaining('"chain": "main"'), err });
});

test("why does not claim what depends on the source of a call", async () => {
  const caller = { id: "k", consumer: "a", roles: [], refused: null, allowed: false, rule: null, reason: "no" };
  const thing = { kind: "tool", name: "x", wire: null, missing: null, down: null, toolsets: [] };
  const said = async (listed: boolean, remedy: string | null, elsewhere = true) => {
    const callers = [{ ...caller, listed, remedy, elsewhere }];
    const { code, out, err } = await run("why a x --args {}", () => ({ ...thing, callers }));
    return { code, err, out };
  };
  const err = "conditions test where a call comes from, which is not known here; LISTS or USE depends on it\n";
  const depends = "depends on where the call comes from";
  const row = (lists: string, use: string) => expect.stringMatching(new RegExp(` ${lists} +${use} +no\n`));
  expect(await said(false, null)).toEqual({ code: 1, err, out: row("depends", depends) });
  expect(await said(true, null)).toEqual({ code: 1, err, out: row("listed", depends) });
  const withRemedy = await said(false, `r${escape}`);
  expect(withRemedy).toEqual({ code: 1, err, out: row("depends", "may not use it") });
  expect(withRemedy.out).toEndWith(`\nk: r${shown}\n`);
  expect(await said(false, null, false)).toEqual({ code: 1, err: "", out: row("hidden", "may not use it") });
});

test("why says that it evaluated a call without arguments if these may matter", async () => {
  const caller = { id: "k", consumer: "a", roles: [], refused: null, listed: true, allowed: false, rule: null };
  const rest = { reason: "no", remedy: null, elsewhere: false };
  const thing = { kind: "tool", name: "x", wire: null, missing: null, down: null, toolsets: [] };
  const said = async (flags: string, over: object): Promise<string> =>
    (await run(`why a s:t${flags}`, () => ({ ...thing, callers: [{ ...caller, ...rest, ...over }] }))).err;
  expect(await said("", {})).toBe("evaluated without arguments; give them with --args\n");
  for (const over of [{ refused: "frozen" }, { listed: false }, { allowed: true }])
    expect(await said("", over)).toBe("");
  expect(await said(' --args {"a":1}', {})).toBe("");
});

test("T58: config show --running shows no invisible characters, line by line", async () => {
  const answer = { file: null, loadedAt: 0, config: { log: { level: "a\u202eb" }, name: "c\u009bd" } };
  const { out } = await run("config show --running", () => answer);
  expect(out.split("\n").length).toBeGreaterThan(3);
  expect(out).toMatch(/^[\n -~]*$/);
});

test("R25 audit stats shows the records of one chain, even if another has none", async () => {
  const chains = [
    { chain: "main", records: 0 },
    { chain: "serve-1", records: 3 },
  ];
  const answer = { chains, byType: {}, byStatus: {}, consumers: [], servers: [], tools: [] };
  const { out, err } = await run("audit stats", () => answer);
  expect([err, out]).toEqual(["", expect.stringMatching(/^serve-1 +3$/m)]);
});
