import { expect, test } from "bun:test";
import { folded, load } from "../../src/tui/details.tsx";
import type { Feed } from "../../src/tui/feed.ts";
import { keyOf, matching, merge } from "../../src/tui/records.ts";
import { screens } from "../../src/tui/screens.ts";
import { act, begin, type Press, type State } from "../../src/tui/state.ts";
import { entry, records } from "../support/control-answers.ts";
import { reasonOf } from "../support/failure.ts";
import { serverStatus } from "../support/server-status.ts";

test("records are sorted newest first, without duplicates, up to the maximum", () => {
  const first = merge([], [entry({ seq: 1 }), entry({ seq: 3 })], 3);
  const both = merge(first, [entry({ seq: 3 }), entry({ seq: 2 }), entry({ seq: 4 })], 3);
  expect(both.map(({ seq }) => seq)).toEqual([4, 3, 2]);
  expect(merge(both, [entry({ seq: 4 })], 3)).toBe(both);
  // A record may arrive both in the answer and in the stream.
  expect(merge([], [entry({ seq: 1 }), entry({ seq: 1 })], 3)).toHaveLength(1);
  expect(merge(both, [entry({ chain: "serve-1", seq: 4 })], 9)).toHaveLength(4);
  const at = entry().at;
  expect(merge([], [entry({ seq: 1, at }), entry({ seq: 2, at })], 3).map(({ seq }) => seq)).toEqual([2, 1]);
  // A record of a log that replaced the previous one.
  expect(merge(both, [entry({ seq: 4, at: entry({ seq: 9 }).at })], 9)).toHaveLength(4);
});

test.each([
  ["", 6],
  ["files", 4],
  ["FILES denied", 1],
  ["key-3", 1],
  ["never", 1],
  ["intern-bot", 1],
  ["  files  denied ", 1],
  // A word does not match across two columns.
  ["agent-prodkey", 0],
  ["nothing", 0],
])("filter %p matches %p records", (filter, count) => {
  expect(matching(records, filter)).toHaveLength(count);
});

test("a filter ignores case", () => {
  expect(matching([entry({ tool: "ReadFile" })], "readfile")).toHaveLength(1);
});

test("a value is wrapped by columns, including wide characters, and made safe", () => {
  expect(folded("abcdef", 4)).toEqual(["abcd", "ef"]);
  expect(folded("漢字漢", 5)).toEqual(["漢字", "漢"]);
  expect(folded("♥️♥️♥️", 4)).toEqual(["♥️♥️", "♥️"]);
  expect(folded("", 4)).toEqual([""]);
  expect(folded("\u001b[2J", 20)).toEqual(["\\u{1b}[2J"]);
});

const answering = (record: unknown) => ({ ask: async () => record }) as unknown as Feed;

test("details are not shown from a log that replaced the one that listed the record", async () => {
  const shown = entry({ seq: 7 });
  const from = (now: typeof shown) => {
    return load(answering({ entry: now, rec: JSON.stringify({ v: 1, ...now }), leaf: "ab" }), shown);
  };
  expect(await from(shown)).toContainEqual(["hash", "ab"]);
  const reason = await reasonOf(from(entry({ seq: 7, at: shown.at + 1 })));
  expect(String(reason)).toContain("the log was replaced or rolled back: it has another record 7");
});

test("a record starts with what is wrong with it and what happened", async () => {
  const of = entry();
  const rec = JSON.stringify({
    caller: "key:a",
    mono: 5,
    reason: "no",
    seq: 1,
    st: "denied",
    tool: "b",
    type: "c",
    us: 2,
  });
  const names = async (more: object): Promise<string> =>
    (await load(answering({ entry: of, rec, leaf: "ab", ...more }), of)).map(([name]) => name).join(" ");
  expect(await names({})).toBe("type caller tool status reason took record hash run clock");
  expect(await names({ fault: "its hash is wrong" })).toStartWith("changed type caller ");
});

const nobody = { roles: [], keys: 0, inFlight: 0, calls: 0, errors: 0, denied: 0 };
const shown: Omit<Press, "key"> = {
  servers: [serverStatus("a"), serverStatus("b")],
  consumers: ["x", "y"].map((consumer) => ({ ...nobody, consumer })),
  records: records.slice(0, 3),
};

const press = (state: State, keys: readonly string[], more: Partial<Press> = {}): State =>
  keys.reduce((now, key) => act(now, { ...shown, ...more, key }), state);

const [first, second, third] = shown.records.map(keyOf);

test.each([
  [["<down>", "<down>"], { selected: third }],
  [["<down>", "<down>", "<down>", "<down>"], { selected: third }],
  [["<pagedown>", "k"], { selected: second }],
  [["<up>"], { selected: null }],
  [["<down>", "<up>"], { selected: null }],
  [["<down>", "2"], { screen: "servers", selected: null }],
  [["3", "j"], { screen: "consumers", selected: "y" }],
  [["<tab>"], { screen: "servers" }],
  [["<tab>", "<tab>", "<tab>"], { screen: "calls" }],
  [["2", "p", "/"], { paused: null, typing: false }],
  [["p"], { paused: shown.records }],
  [["p", "p"], { paused: null }],
  [["<down>", "p"], { selected: second }],
  [["<down>", "p", "p"], { selected: second }],
  [["q"], { quit: true }],
  [["/", "q"], { quit: false }],
  [["/", "key-2", "<enter>", "<enter>"], { open: { kind: "record", entry: records[2] } }],
  [["/", "p", "2", "<backspace>", "q"], { filter: "pq", screen: "calls", typing: true }],
  [["/", "a", ..."😀".split(""), "<backspace>"], { filter: "a" }],
  [["/", "a", "<enter>"], { filter: "a", typing: false }],
  [["/", "a", "<escape>"], { filter: "", typing: false }],
  [["<down>", "<enter>"], { open: { kind: "record", entry: records[1] } }],
  [["2", "<down>", "<enter>"], { open: { kind: "server", id: "b" } }],
  [["3", "<enter>"], { open: null }],
  [["<enter>", "<escape>"], { open: null }],
  [["<enter>", "2"], { screen: "servers", open: null }],
  // Keys do not affect the list behind open details.
  [["<enter>", "<down>", "p", "/"], { selected: null, paused: null, typing: false }],
  [["<down>", "<down>", "<pageup>"], { selected: null }],
  [["<down>", "/", "f"], { selected: null }],
  [["/", "a", "<down>", "<tab>"], { filter: "a", screen: "calls" }],
  [["/", "a", "<enter>", "<escape>"], { filter: "" }],
  [["/", "files", "<enter>", "<enter>", "<escape>"], { filter: "files", open: null }],
  [["/", "intern", "<enter>", "p"], { paused: shown.records }],
  [["constructor"], begin],
  ...["constructor", "down", "enter", "backspace"].map((text): [string[], Partial<State>] => [
    ["/", text],
    { filter: text, typing: true },
  ]),
])("keys %p", (keys, expected) => {
  expect(press(begin, keys)).toMatchObject(expected);
});

test("the length of a filter is limited", () => {
  expect(press(begin, ["/", ...Array<string>(101).fill("x")]).filter).toBe("x".repeat(100));
});

test("the selection stays with its record and does not open another one", () => {
  const newer = { records: [entry({ seq: 8 }), entry({ seq: 9 }), ...shown.records] };
  const selected = press(begin, ["<down>"]);
  expect(press(selected, ["<enter>"], newer)).toMatchObject({ open: { entry: records[1] } });
  expect(press(selected, ["<up>"], newer)).toMatchObject({ selected: first });
  expect(press(selected, ["<enter>"], { records: records.slice(2) })).toMatchObject({ open: null });
  expect(press(press(begin, ["<enter>"]), ["<enter>"], newer)).toMatchObject({ open: { entry: records[0] } });
  expect(screens.calls.rows(press(begin, ["p"]), { ...shown, ...newer })).toEqual(shown.records);
  // Without a selection, the first row is the newest record.
  expect(press(begin, ["<enter>"], newer)).toMatchObject({ open: { entry: newer.records[0] } });
});
