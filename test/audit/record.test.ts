import { expect, test } from "bun:test";
import { heapStats } from "bun:jsc";
import fc from "fast-check";
import { canonical } from "../../src/core/canonical.ts";
import { createEncoder, type Fields, members, prevOf, readRecord } from "../../src/audit/record.ts";
import { timeOf, timeText } from "../../src/core/time-text.ts";
import { anyText as text } from "../support/any-text.ts";

const stamp = { chain: "main", boot: "B", node: "n", ver: "1" };
const encoder = createEncoder(stamp);
const count = fc.nat();

const values: { readonly [K in keyof Fields]-?: fc.Arbitrary<NonNullable<Fields[K]>> } = {
  type: fc.constantFrom("call.begin", "call.end", "admin.reload"),
  at: fc.integer({ min: 0, max: 4_000_000_000_000_000 }),
  mono: count,
  call: text,
  caller: text,
  subj: text,
  consumer: text,
  roles: fc.array(text),
  src: text,
  sess: text,
  rpc: text,
  method: text,
  srv: text,
  tool: text,
  trace: fc.stringMatching(/^[0-9a-f]{32}$/),
  pol: text,
  rule: text,
  reason: text,
  sbx: text,
  pay: text,
  ad: text,
  al: count,
  acut: fc.boolean(),
  rd: text,
  rl: count,
  rcut: fc.boolean(),
  st: text,
  code: text,
  cause: text,
  us: count,
  ref: count,
  count,
  facts: fc.dictionary(text, fc.oneof(text, count, fc.boolean(), fc.constant(null))),
};
const fields = fc.record(values, { requiredKeys: ["type", "at", "mono"] });

function render(given: Fields, seq: number, prev: string): string {
  const preimage = encoder.encode(given, seq, prev);
  expect(preimage[0]).toBe(0);
  return preimage.toString("utf8", 1);
}

// The members that a draft sets, except type and `code`, which decide which form is used and whether it is cached.
const given = Object.entries(members).flatMap(([name, kind]) =>
  kind === "placed" || name in stamp || ["v", "type", "code"].includes(name) ? [] : [name],
);

test.each(given)("R8 record: %s has its own value even if the previous record is otherwise the same", (name) => {
  const full: Fields = { ...Object.fromEntries(given.map((each) => [each, "a"])), type: "call.end", at: 0, mono: 0 };
  const after = (before: Fields, next: Fields): unknown => {
    render(before, 1, "P");
    return JSON.parse(render(next, 2, "P"))[name];
  };
  const other = { ...full, [name]: 7 };
  expect(after(full, other)).toBe(7);
  if (name === "mono") return;
  const less = { ...full, [name]: undefined };
  expect(after(less, other)).toBe(7);
  expect(after(other, less)).toBeUndefined();
});

test("R8 R92 record: the template produces the canonical JSON of the whole record", () => {
  fc.assert(
    fc.property(fields, count, (given, seq) => {
      const rec = render(given, seq, "P");
      const { at, ...rest } = given;
      const wanted = { ...rest, ...stamp, v: 1, seq, prev: "P", t: timeText(at) };
      expect(rec).toBe(canonical(JSON.parse(JSON.stringify(wanted))));
      expect(readRecord(rec).seq).toBe(seq);
    }),
  );
});

test("record: prev is found whatever strings and facts contain", () => {
  fc.assert(
    fc.property(fields, (given) => {
      expect(prevOf(render({ ...given, reason: '"prev":"forged"', facts: { prev: "forged" } }, 1, "TRUE"))).toBe(
        "TRUE",
      );
    }),
  );
  expect(prevOf(render({ type: "call.end", at: 0, mono: 0, code: '"prev":"forged"' }, 1, "TRUE"))).toBe("TRUE");
});

test("T09 record: times sort as text and keep their µs, even far from the present", () => {
  const year = 31_556_952_000_000;
  const now = Date.UTC(2026, 10, 21) * 1000;
  const times = [0, now - 10 * year, now, now + 1, now + 999_999, now + 1_000_000, now + 10 * year];
  const texts = times.map(timeText);
  expect(texts.toSorted()).toEqual(texts);
  expect(texts.map(timeOf)).toEqual(times);
  expect(timeText(now + 5)).toBe("2026-11-21T00:00:00.000005Z");
  // Years with more than four digits would sort wrong, or could not be formatted.
  expect([-9e18, 9e18].map(timeText)).toEqual(["0000-01-01T00:00:00.000000Z", "9999-12-31T00:00:00.000000Z"]);
});

test("the records of a batch reuse the memory of the previous batch", () => {
  const one = createEncoder(stamp);
  const places = () => {
    one.reset();
    return [1, 2].map((seq) => one.encode({ type: "call.end", at: 0, mono: 0 }, seq, "x").byteOffset);
  };
  expect(places()).toEqual(places());
});

test.each<[string, (at: number) => Partial<Fields>]>([
  // A request id is a slice of its message, as it was written.
  [
    "messages",
    (at) => ({
      rpc: Buffer.alloc(2 ** 20, "x")
        .toString()
        .slice(at, at + 6),
      tool: `tool-${at}`,
    }),
  ],
  ["long URIs", (at) => ({ tool: `note://${at}/${"x".repeat(8_000)}` })],
])("R8 record: cached forms keep no %s in memory", (_, own) => {
  const one = createEncoder(stamp);
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const before = heap();
  for (let at = 0; at < 1_000; at++) {
    one.reset();
    one.encode({ type: "call.begin", at: 0, mono: 0, ...own(at) }, 1, "x");
  }
  expect(heap() - before).toBeLessThan(5 * 2 ** 20);
  one.reset();
});

test("R8 record: cached forms take little memory, however many callers there are", () => {
  const one = createEncoder(stamp);
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const record = {
    at: 0,
    mono: 0,
    call: "c",
    srv: "s",
    tool: "t",
    rpc: "1",
    ad: "a",
    al: 1,
    pol: "p",
    us: 1,
    trace: "f",
  };
  const before = heap();
  for (let at = 0; at < 9_000; at++) {
    one.reset();
    for (const type of ["call.begin", "call.end"] as const)
      one.encode({ ...record, type, caller: `key-${at}` }, 1, "x");
    if (at % 1_000 === 0) expect(heap() - before).toBeLessThan(16 * 2 ** 20);
  }
});
