import { describe, expect, test } from "bun:test";
import { mkdirSync, existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { maxAnswerItems } from "../../src/control/filters.ts";
import { Unreachable } from "../../src/control/refusal.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { run } from "../support/command-line.ts";
import { entry, sampleHandlers } from "../support/control-answers.ts";
import { serverStatus } from "../support/server-status.ts";
import { TempDir } from "../support/temp-dir.ts";

// How commands handle answers that a daemon rarely gives.

const escape = "\u001b[2J";
const shown = "\\u{1b}[2J";

describe("R25 audit verify", () => {
  const intact = { chain: "main", records: 12, first: 1, exit: 3, bad: null, checkpoint: null, notes: [] } as const;
  const checkpoint = { source: "kept", size: 10, at: null, after: 2, sameHost: false };
  const tampered = { ...intact, exit: 1, bad: { seq: null, kind: "missing", detail: `a${escape}` } } as const;
  const ask = (text: string, of: object, exit: number) => run(text, () => ({ exit, chains: [of], pubkey: null }));

  test.each([
    ["audit verify", intact, 3, "  no checkpoint; name one with --checkpoint\n"],
    ["audit verify --checkpoint /dev/null", intact, 3, "  none of the given checkpoints is for this chain\n"],
    ["audit verify", { ...intact, first: 2 }, 3, "  begins at record 2: earlier records are not in it\n"],
    ["audit verify", tampered, 1, `chain main: 12 records checked\n  missing: a${shown}\n`],
    ["audit verify", { ...intact, notes: [`n${escape}`] }, 3, `  n${shown}\n`],
    [
      "audit verify",
      { ...intact, exit: 0, checkpoint },
      0,
      "  checkpoint over 10 records, from kept\n  newer records, chained but not yet covered by it: 2\n",
    ],
    [
      "audit verify",
      { ...intact, checkpoint: { ...checkpoint, sameHost: true } },
      3,
      "  it is stored on this host: anyone who could change the log could change it too\n",
    ],
  ] as const)("%s of %o exits %p", async (text, of, exit, says) => {
    const { code, out } = await ask(text, of, exit);
    expect(code).toBe(exit);
    expect(out.slice(out.indexOf("\n"))).toEndWith(says);
  });

  test("sends the checkpoint and the key that the given files contain", async () => {
    using at = new TempDir();
    writeFileSync(at.path("kept"), "note\n");
    writeFileSync(at.path("signing.pub"), "the-key\n");
    let asked: unknown;
    const against = `--checkpoint ${at.path("kept")} --pubkey ${at.path("signing.pub")}`;
    await run(`audit verify ${against}`, (_name, input) => ((asked = input), { exit: 3, chains: [], pubkey: null }));
    expect(asked).toEqual({ checkpoints: [{ source: at.path("kept"), text: "note\n" }], pubkey: "the-key" });
  });

  test.each([
    ["--pubkey no-key", "no-key is neither an existing file nor a public key"],
    ["--checkpoint URL", "URL answered with HTTP status 404"],
    ["--checkpoint EMPTY", "EMPTY contains no files"],
    ["--checkpoint MANY", "MANY contains 101 files, but at most 100 can be read"],
  ])("exits 2 if its input cannot be read: %s", async (flag, says) => {
    using dir = new TempDir();
    for (const name of ["empty", "many"]) mkdirSync(dir.path(name));
    for (let n = 0; n < 101; n++) writeFileSync(dir.path(`many/${n}`), "");
    using web = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("", { status: 404 }) });
    const at = (text: string) =>
      text.replace("URL", web.url.href).replace("EMPTY", dir.path("empty")).replace("MANY", dir.path("many"));
    const { code, out, err } = await run(`audit verify ${at(flag)}`, () => ({ exit: 0, chains: [], pubkey: null }));
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain(at(says));
  });
});

describe("R9 audit export", () => {
  const record = '{"rec":"\u202e"}';
  const records = async function* () {
    yield record;
  };

  test("writes every byte unchanged, except control characters on a terminal", async () => {
    expect((await run("audit export", records)).out).toBe(`${record}\n`);
    expect((await run("audit export", records, { terminal: true })).out).toBe('{"rec":"\\u202e"}\n');
  });

  test("leaves no incomplete file, and does not touch an existing one, even a link", async () => {
    using at = new TempDir();
    const file = at.path("audit.jsonl");
    let asked = 0;
    const ask = (text: string) =>
      run(text, async function* () {
        asked++;
        yield* records();
        if (asked === 1) throw new StoreFailed("the disk is gone");
      });
    expect(await ask(`audit export --out ${file}`)).toMatchObject({ code: 1, err: expect.stringContaining("disk") });
    expect(existsSync(file)).toBe(false);
    expect(await ask(`audit export --out ${file}`)).toMatchObject({ code: 0, err: `1 record in ${file}\n` });
    expect(await ask(`audit export --out ${file}`)).toMatchObject({ code: 2, opened: [] });
    expect(readFileSync(file, "utf8")).toBe(`${record}\n`);
    symlinkSync(at.path("target"), at.path("link"));
    const linked = await ask(`audit export --out ${at.path("link")}`);
    expect(linked).toMatchObject({ code: 2, err: expect.stringContaining("already exists") });
    expect(existsSync(at.path("target"))).toBe(false);
  });
});

test("R25 audit show warns about each changed record, and shows no control characters of a payload", async () => {
  const rec = JSON.stringify({ seq: 2, consumer: "a", acut: true, al: 70_000 });
  const payloads = [{ part: "args", body: escape }];
  const begin = { seq: 1, rec, payloads, fault: "its args are gone" };
  const answer = {
    entry: entry({ seq: 2 }),
    rec,
    leaf: "ab",
    payloads: null,
    fault: "its hash is wrong",
    begin,
    source: null,
  };
  const { code, out, err } = await run("audit show 2 --payloads", () => answer);
  expect(code).toBe(0);
  expect(out).toEndWith(`args, only the first part of 70,000 bytes was stored\n${shown}\n`);
  expect(err.split("\n")).toEqual([
    expect.stringContaining("record 2 is not as it was recorded: its hash is wrong; `mcpgw audit verify`"),
    expect.stringContaining("record 1 is not as it was recorded: its args are gone; `mcpgw audit verify`"),
    "",
  ]);
});

test("R25 audit log does not claim that no record has a name while records of a chain are missing", async () => {
  const answer = { records: [], more: false, unread: ["main"] };
  const { code, err } = await run("audit log --consumer nobody", () => answer);
  expect(code).toBe(1);
  expect(err).toStartWith("mcpgw: warning: chain main cannot be read completely");
  expect(err).toEndWith("\nno record matches\n");
});

test.each(["audit stats", "audit stats --json"])(
  "R25 %s exits 1 while records of a chain are missing",
  async (text) => {
    const counts = { byType: {}, byStatus: {}, consumers: [], servers: [], tools: [] };
    const { code } = await run(text, () => ({
      chains: [{ chain: "serve-1", records: 3 }],
      ...counts,
      unread: ["main"],
    }));
    expect(code).toBe(1);
  },
);

test("R26 usage says what its numbers leave out, and shows no mean for zero calls", async () => {
  const row = { name: "a", calls: 0, errors: 0, denied: 3, latencySumUs: 0, bytesIn: 0, bytesOut: 0 };
  const hours = { since: "2026-01-01T00:00:00Z", until: null };
  const answer = { metered: false, hours, cutShort: [{ chain: "main", upto: 7 }], rows: [row] };
  const { code, out, err } = await run("usage", () => answer);
  expect(code).toBe(1);
  expect(out).toMatch(/\na +0 +0 +3 +- +0 B +0 B\n$/);
  expect(err.split("\n")).toEqual([
    "metering is off (usage.enabled): calls are not counted now, and those shown were counted before",
    "usage is counted by the hour; these counts are from 2026-01-01T00:00:00Z",
    expect.stringContaining("warning: chain main cannot be read beyond record 7, so later records are not counted"),
    "",
  ]);
});

describe("R88 tools call", () => {
  const ask = (status: string, result: object | null, error: { code: number; message: string } | null, flag = "") =>
    run(`tools call a:b${flag}`, () => ({ call: "c", status, result: result && JSON.stringify(result), error }));

  test("exits 1 and shows the reason if the call failed", async () => {
    const denied = await ask("denied", null, { code: -1, message: `no${escape}\nnever` });
    expect(denied).toMatchObject({ code: 1, out: "" });
    expect(denied.err).toStartWith(`no${shown}\nnever\n`);
    expect(denied.err).toContain("MCPGW_API_KEY");
    const failed = await ask("tool_error", { content: [{ type: "text", text: "bad" }], isError: true }, null);
    expect(failed).toMatchObject({ code: 1, out: "bad\n", err: "" });
    expect(await ask("tool_error", null, null, " --json")).toMatchObject({ code: 1 });
  });

  test("shows the parts of a result line by line, without control characters", async () => {
    const content = [{ type: "text", text: `a${escape}\nb` }, { type: `image${escape}` }];
    expect((await ask("ok", { content }, null)).out).toBe(`a${shown}\nb\n[image${shown}]\n`);
    expect((await ask("ok", { content: [], structuredContent: { n: "\u009b" } }, null)).out).toBe(
      '{"content":[],"structuredContent":{"n":"\\u{9b}"}}\n',
    );
    const odd = await ask("ok", { content: [null, 5, {}, { type: "text", text: {} }] }, null);
    expect([odd.code, odd.out]).toEqual([0, "null\n5\n{}\n[text]\n"]);
  });

  test("prints a result as JSON with every digit", async () => {
    const answer = { call: "c", status: "ok", result: '{"n":1.10}', error: null };
    const { out } = await run("tools call a:b --json", () => answer);
    expect(out).toBe('{"call":"c","status":"ok","error":null,"result":{"n":1.10}}\n');
  });
});

test("R88 tools list says if the caller has no tools, and who the caller is without a key", async () => {
  const { out, err } = await run("tools list", () => ({ tools: [] }));
  expect(out).toBe("");
  expect(err).toMatch(/^this caller may use no tools\n.*MCPGW_API_KEY/);
});

describe("R24 servers", () => {
  test.each([
    ["ready", 0],
    ["starting", 0],
    ["idle", 0],
    ["backoff", 1],
    ["disabled", 1],
  ] as const)("restart to %s exits %p", async (state, code) => {
    const answer = { server: serverStatus("s", { state }) };
    const err = expect.stringMatching(/^waiting until s is ready or has failed\n/);
    expect(await run("servers restart s", () => answer)).toMatchObject({ code, err });
  });

  test.each([
    [
      "stdio",
      "open-circuit",
      "the start will be retried later; `mcpgw servers logs s` shows its output; `mcpgw servers restart s` retries now\n",
    ],
    ["http", "backoff", "the start will be retried later; `mcpgw servers restart s` retries now\n"],
    ["stdio", "starting", "the start is being retried; `mcpgw servers logs s` shows its output\n"],
  ] as const)("show says what to do about a failed server over %s in state %s", async (transport, state, help) => {
    const things = {
      others: { prompts: 0, resources: 0, templates: 0, hidden: [] },
      leftOut: { first: [], more: 0 },
    };
    const server = serverStatus("s", { state, transport, reason: "exited with 1" });
    expect(await run("servers show s", () => ({ server, tools: [], ...things }))).toMatchObject({
      code: 0,
      err: help,
    });
  });

  test("show gives no advice about a server that is starting for the first time", async () => {
    const things = { others: { prompts: 0, resources: 0, templates: 0, hidden: [] }, leftOut: { first: [], more: 0 } };
    const server = serverStatus("s", { state: "starting" });
    expect(await run("servers show s", () => ({ server, tools: [], ...things }))).toMatchObject({ code: 0, err: "" });
  });

  test("logs -f says how many lines it skipped", async () => {
    const lines = async function* () {
      yield { gap: 1_200 };
      yield { line: escape };
    };
    const { out, err } = await run("servers logs s -f", lines);
    expect([out, err]).toEqual([`${shown}\n`, "… 1,200 lines skipped: this reader is too slow\n"]);
  });
});

test("R24 logs -f continues with all lines of a restarted daemon, since it has shown none of them", async () => {
  const asked: unknown[] = [];
  const lines = async function* () {
    yield* [];
    if (asked.length < 2) throw new Unreachable("the daemon closed the connection");
  };
  const { code } = await run("servers logs s -f --lines 1", (_name, input) => (asked.push(input), lines()));
  expect([code, asked]).toEqual([
    0,
    [
      { id: "s", lines: 1 },
      { id: "s", lines: maxAnswerItems },
    ],
  ]);
});

test.each([
  ["the same daemon is not shown again", ["2", "3"]],
  ["a further daemon is shown", ["4"]],
])("R24 logs -f after a lost connection, with lines already shown of %s", async (_whose, later) => {
  let connections = 0;
  const follow = async function* () {
    if (++connections > 1) return yield* later.map((line) => ({ line }));
    yield* [{ line: "1" }, { line: "2" }];
    throw new Unreachable("the daemon closed the connection");
  };
  const answer = (name: string) => (name === "servers.logs" ? { lines: ["0", "1", ...later] } : follow());
  const { code, out } = await run("servers logs s -f", answer);
  expect([code, out.split("\n").slice(0, -1)]).toEqual([0, ["1", "2", ...later.filter((line) => line !== "2")]]);
});

test("R20 status says that every caller is refused while keys are frozen", async () => {
  const answer = { ...(await sampleHandlers().status({}, {} as never)), frozen: true };
  expect((await run("status", () => answer)).out).toMatch(
    /^authentication +api-key, frozen: every caller is refused$/m,
  );
});

test("R120 config reload prints the daemon's warnings", async () => {
  const answer = { file: `g${escape}`, changed: false, warnings: [`w${escape}`] };
  const { out, err } = await run("config reload", () => answer);
  expect(out).toBe(`loaded g${shown}: no changes\n`);
  expect(err).toBe(`mcpgw: warning: w${shown}\n`);
});

test("R123 tail says how many records it skipped, and one long name does not widen later rows", async () => {
  const news = async function* () {
    yield { gap: 3 };
    yield entry({ seq: 8, consumer: "x".repeat(500) });
    yield entry({ seq: 9 });
  };
  const { out, err } = await run("tail", (name) => (name === "tail" ? news() : { records: [] }));
  expect(out.split("\n")[1]).toContain(`  ${"agent-prod".padEnd(48)}  files:read_file `);
  expect(err).toBe("… 3 records skipped: this reader is too slow\n");
});

test("R123 tail shows records before it knows whether any record has the requested name, and then says that none does", async () => {
  const told = Promise.withResolvers<object>();
  const news = async function* () {
    yield entry();
    setImmediate(() => told.resolve({ records: [] }));
  };
  const { out, err } = await run("tail --server s", (name) => (name === "tail" ? news() : told.promise));
  expect([out, err]).toEqual([expect.stringContaining("files:read_file"), "no record so far has the server s\n"]);
});

test.each(["tail", "tail --json", "servers logs s -f", "servers logs s -f --json"])(
  "a failed write ends %s, which requests nothing more",
  async (text) => {
    let given = 0;
    const news = async function* () {
      for (; given < 9; given++) yield text.startsWith("tail") ? entry({ seq: given + 1 }) : { line: "x" };
    };
    const ran = await run(text, (name) => (name === "audit.log" ? { records: [entry()] } : news()), { full: true });
    expect(ran).toMatchObject({ code: 1, out: "", err: "Error: no space left\n" });
    expect(given).toBe(0);
  },
);
