import { expect, test } from "bun:test";
import { wasClosed } from "../../src/cli/descriptor.ts";
import { type Cell, createOutput, right, whole } from "../../src/cli/output.ts";
import { run, stream } from "../support/command-line.ts";
import { entry } from "../support/control-answers.ts";
import { serverStatus } from "../support/server-status.ts";

async function tableOn(isTTY: boolean, columns: number): Promise<string[]> {
  const { fake, written } = stream(isTTY, columns);
  const out = createOutput({ out: fake, err: fake, json: false, color: false });
  const long = "世界".repeat(60);
  await out.table(
    ["NAME", "CALLS"],
    [
      [long, { text: "1", right: true }],
      ["short", { text: "20,000", right: true }],
      [`\u001b[31m${"x".repeat(300)}`, { text: "3", right: true }],
    ],
  );
  return written.join("").trimEnd().split("\n");
}

test("T58: names from servers are cut to the width of a terminal, but not without a terminal or known width", async () => {
  for (const columns of [20, 40, 80, 200]) {
    const lines = await tableOn(true, columns);
    expect(Math.max(...lines.map((line) => Bun.stringWidth(line)))).toBeLessThanOrEqual(columns);
    expect(lines.join("")).toContain("20,000");
    expect(lines[1]).toContain("…");
  }
  const whole = await tableOn(false, 40);
  for (const lines of [whole, await tableOn(true, 0)]) expect(lines[1]).toContain("世界".repeat(60));
  // One long name widens only its own row.
  expect(Bun.stringWidth(whole[2] ?? "")).toBeLessThan(80);
});

test("T58: a fact is never cut, and a cut time keeps its time of day", async () => {
  const { fake, written } = stream(true, 40);
  const out = createOutput({ out: fake, err: fake, json: false, color: false });
  const digest = "0".repeat(64);
  await out.facts([["digest", digest]]);
  expect(written.splice(0)).toEqual([`digest  ${digest}\n`]);
  const time: Cell = { text: "2026-03-01 12:00:01.000", lastWord: true };
  await out.table(["TIME", "WHY"], [[time, "because ".repeat(20)]]);
  expect(written.splice(0).join("").split("\n")[1]).toStartWith("…12:00:01.000 ");
  // At every width that is too small for the row.
  fake.columns = 10;
  await out.table(["TIME", "WHY"], [[time, "because ".repeat(20)]]);
  expect(written.join("").split("\n")[1]).toStartWith("…12:00:01.000 ");
});

test("T58: ids, times, numbers and reasons stay whole on a narrow terminal, and only names are cut", async () => {
  const { fake, written } = stream(true, 40);
  const out = createOutput({ out: fake, err: fake, json: false, color: false });
  const [id, time, reason] = ["a-server-with-a-long-id", "2026-11-28 21:35:05", "its process exited with code 3"];
  const rows: Cell[][] = [
    [whole(id), whole(time), "x".repeat(30), right("1,234,567,890"), whole(reason)],
    [whole("y".repeat(300)), whole(time), "short", right("1"), "z".repeat(300)],
  ];
  await out.table(["SERVER", "UNTIL", "NAME", "CALLS", "REASON"], rows);
  const [, first = "", second = ""] = written.join("").split("\n");
  expect(first).toBe(`${id.padEnd(64)}  ${time}  ${"x".repeat(11)}…  1,234,567,890  ${reason}`);
  // No id is as long as a name that was made up to hide the other rows.
  expect(second).toStartWith(`${"y".repeat(63)}…  ${time}  short `);
  expect(second).toEndWith(`  ${"z".repeat(11)}…`);
});

test.each([
  ["", {}, true, true],
  [" --no-color", {}, true, false],
  ["", { NO_COLOR: "1" }, true, false],
  ["", { TERM: "dumb" }, true, false],
  ["", {}, false, false],
])(
  "servers list%s has colors only on a terminal that allows them, with %o (%p): %p",
  async (flag, env, terminal, on) => {
    const before = { NO_COLOR: "", TERM: "", ...process.env };
    Object.assign(process.env, { NO_COLOR: "", TERM: "xterm", ...env });
    const { out } = await run(`servers list${flag}`, () => ({ servers: [serverStatus("s")] }), { terminal });
    Object.assign(process.env, before);
    expect(out.includes("  \u001b[32mready\u001b[0m  ")).toBe(on);
    expect(out.includes("\u001b")).toBe(on);
  },
);

test("failures are red on a terminal, both a status and a whole cell", async () => {
  const before = { NO_COLOR: "", TERM: "", ...process.env };
  Object.assign(process.env, { NO_COLOR: "", TERM: "xterm" });
  const shown = async (words: string, answer: unknown) => (await run(words, () => answer, { terminal: true })).out;
  const records = [entry({ status: "denied" }), entry({ status: "ok" })];
  const listed = await shown("audit log", { records, more: false });
  const server = serverStatus("s", { down: [{ owner: null, reason: "exited", until: 0, open: false }] });
  const things = { tools: [], others: { prompts: 0, resources: 0, templates: 0, hidden: [] } };
  const down = await shown("servers show s", { server, ...things, leftOut: { first: [], more: 0 } });
  Object.assign(process.env, before);
  expect(listed).toContain("\u001b[31mdenied\u001b[0m");
  expect(listed).toContain("\u001b[32mok\u001b[0m");
  expect(down).toContain("\u001b[31mexited\u001b[0m");
});

test("T58: messages show no control characters, and all warnings look the same", () => {
  const { fake, written } = stream(true, 80);
  const out = createOutput({ out: fake, err: fake, json: false, color: false });
  out.warn("a\nb\u001b[2J");
  out.say("c\u007f");
  expect(written).toEqual(["mcpgw: warning: a\\u{a}b\\u{1b}[2J\n", "c\\u{7f}\n"]);
});

test.each([
  [true, false],
  [false, true],
])("messages have colors if standard error is a terminal, wherever the output goes (%p)", (terminal, on) => {
  const before = { NO_COLOR: "", TERM: "", ...process.env };
  Object.assign(process.env, { NO_COLOR: "", TERM: "xterm" });
  const [data, said] = [stream(terminal, 80), stream(!terminal, 80)];
  createOutput({ out: data.fake, err: said.fake, json: false, color: true }).warn("a");
  Object.assign(process.env, before);
  expect(said.written.join("").includes("\u001b")).toBe(on);
});

test("T58: JSON shows no control or invisible characters, and keeps its value", async () => {
  const { fake, written } = stream(true, 80);
  const out = createOutput({ out: fake, err: fake, json: true, color: false });
  const value = { name: "a\u009b2J\u202e\u200b\n\u{e0041}b", n: [1] };
  await out.document(value);
  await out.object(value);
  // Written by a server; on a terminal a carriage return would overwrite the line.
  await out.printJson('{"n":1.10,\r"c":"\u202e"}');
  expect(written.join("")).toMatch(/^[\n -~]*$/);
  expect(JSON.parse(written[0] ?? "")).toEqual(value);
  expect(written[0]).toContain('\n  "n": [\n');
  expect(JSON.parse(written[1] ?? "")).toEqual(value);
  expect(written[2]).toBe('{"n":1.10,\n"c":"\\u202e"}\n');
});

test.each([
  [true, "\\u{1b}[2J"],
  [false, "\u001b[2J"],
])(
  "T58: usage --csv to a terminal (%p) shows no control characters of a name, and each name is one cell",
  async (terminal, shown) => {
    const numbers = { calls: 1, errors: 2, denied: 3, latencySumUs: 4, bytesIn: 5, bytesOut: 6 };
    const names = ["\u001b[2J", "=1+1", "+1", "-1", "@x", "\t1", 'a"b', "a,b", "a\nb", "a\rb"];
    const answer = { metered: true, rows: names.map((name) => ({ ...numbers, name })) };
    const { out } = await run("usage --csv", () => answer, { terminal });
    const cells = [shown, "'=1+1", "'+1", "'-1", "'@x", terminal ? "' 1" : "'\t1", '"a""b"', '"a,b"'];
    cells.push(...(terminal ? ['"a\\u{a}b"', '"a\\u{d}b"'] : ['"a\nb"', '"a\rb"']));
    expect(out).toBe(
      [
        "name,calls,errors,denied,latencySumUs,bytesIn,bytesOut",
        ...cells.map((cell) => `${cell},1,2,3,4,5,6`),
        "",
      ].join("\n"),
    );
  },
);

test("a descriptor that the system reports nothing about counts as open", () => {
  expect(wasClosed(999_999)).toBe(false);
});
