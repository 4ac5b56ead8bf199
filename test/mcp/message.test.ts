import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { FailureCode } from "../../src/core/failure.ts";
import { cancelledIn, idOf, idsIn, isBatch, parseMessage, splitBatch } from "../../src/mcp/message.ts";
import { fastest } from "../support/fastest.ts";
import { expectFailure, limits, spaced } from "./support.ts";

const parse = (text: string) => parseMessage(text, limits);

describe("kinds", () => {
  test.each([
    ['{"jsonrpc":"2.0","id":1,"method":"ping"}', "request", "1"],
    ['{"jsonrpc":"2.0","method":"notifications/initialized"}', "notification", null],
    ['{"jsonrpc":"2.0","id":"a","result":{}}', "response", '"a"'],
    ['{"jsonrpc":"2.0","id":-3,"error":{"code":1,"message":"x"}}', "response", "-3"],
    ['{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}', "response", null],
    ['{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}', "response", null],
    [' {"method":"m","\\u0069d":7 ,"jsonrpc":"2.0"} ', "request", "7"],
  ] as const)("%s", (text, kind, idText) => expect(parse(text)).toMatchObject({ kind, idText, text }));
});

describe("S20: an id is kept as it was written", () => {
  const ids = [
    "0",
    "1",
    "-1",
    "1.0",
    "-7.000",
    '"1"',
    '""',
    "9007199254740993",
    "123456789012345678901234567890",
    '"\\u0041"',
    '"1.0"',
  ];
  test.each(ids)("%s", (id) => {
    const text = `{"jsonrpc":"2.0","id":${id},"method":"ping"}`;
    expect(parse(text).idText).toBe(id);
    expect(idOf(text)).toBe(id);
  });

  const refused = ["1.01", "1.0e0", "1e400", "1e3", "1.5", "-0.5", "null", "true", "[]", "{}", `"${"x".repeat(2000)}"`];
  test.each(refused)("T21: %s is refused", (id) => {
    const text = `{"jsonrpc":"2.0","id":${id},"method":"ping"}`;
    expectFailure(() => parse(text), "invalid-request");
    expect(idOf(text)).toBeNull();
  });
});

describe("T20 S27: invalid messages", () => {
  const cases: [text: string, code: FailureCode][] = [
    ["", "parse-error"],
    ["{", "parse-error"],
    ["hello", "parse-error"],
    ['{"jsonrpc":"2.0","id":1,"method":"ping"} x', "parse-error"],
    ["{'jsonrpc':'2.0'}", "parse-error"],
    ['{"jsonrpc":"2.0","id":1,"method":"ping",}', "parse-error"],
    ["null", "invalid-request"],
    ["7", "invalid-request"],
    ['"text"', "invalid-request"],
    ["[]", "invalid-request"],
    ['[{"jsonrpc":"2.0","id":1,"method":"ping"}]', "invalid-request"],
    ["{}", "invalid-request"],
    ['{"id":1,"method":"ping"}', "invalid-request"],
    ['{"jsonrpc":"1.0","id":1,"method":"ping"}', "invalid-request"],
    ['{"jsonrpc":2.0,"id":1,"method":"ping"}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"method":7}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"method":null}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"Method":"ping"}', "invalid-request"],
    ['{"jsonrpc":"2.0","ID":1,"METHOD":"ping"}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"result":1}', "invalid-request"],
    ['{"jsonrpc":"2.0","result":{}}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":null,"result":{}}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}', "invalid-request"],
    ['{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x","n\\u0061me":"y"}}', "invalid-request"],
    ['{"__proto__":{"jsonrpc":"2.0","id":1,"method":"ping"}}', "invalid-request"],
  ];
  test.each(cases)("%s", (text, code) => {
    expectFailure(() => parse(text), code);
  });
});

test("S27: keys that differ in case are different keys, and __proto__ is an ordinary key", () => {
  const text = '{"jsonrpc":"2.0","id":1,"method":"ping","Method":"x","PARAMS":{"a":1},"params":{"__proto__":{"x":1}}}';
  const { method, params } = parse(text);
  expect(method).toBe("ping");
  expect(Object.keys(params)).toEqual(["__proto__"]);
  expect(params.x).toBeUndefined();
  expect(({} as Record<string, unknown>).x).toBeUndefined();
});

test("T20: null params and arguments count as absent, as Go clients write them; a null id is refused", () => {
  const { params, outline } = parse('{"jsonrpc":"2.0","id":1,"method":"ping","params": null}');
  expect([params, outline.params]).toEqual([{}, null]);
  const call =
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments": null,"_meta":{"progressToken":null}}}';
  expect(parse(call).outline).toMatchObject({ params: [55, 105], arguments: null, progressToken: null });
  expectFailure(() => parse('{"jsonrpc":"2.0","id":null,"method":"ping"}'), "invalid-request");
});

test("the outline points at the text as written", () => {
  const text =
    '{"params": {"_meta":{"a":{"progressToken":0},"progressToken" : 1.5e1},"arguments" : {"n":1.10} } , "jsonrpc":"2.0","id" : 3 ,"method":"m"}';
  const { outline } = parse(text);
  const at = (span: readonly [number, number] | null) => span && text.slice(span[0], span[1]);
  expect(at(outline.id)).toBe("3");
  expect(at(outline.params)).toBe(
    '{"_meta":{"a":{"progressToken":0},"progressToken" : 1.5e1},"arguments" : {"n":1.10} }',
  );
  expect(at(outline.arguments)).toBe('{"n":1.10}');
  expect(at(outline.progressToken)).toBe("1.5e1");
  expect(parse('{"jsonrpc":"2.0","method":"m","params": { } }').outline.params).toEqual([40, 43]);
});

test.each([
  ['{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"x","requestId":7}}', "7"],
  ['{"params":{"requestId":"\\u0041"},"method":"notifications/cancelled"}', '"\\u0041"'],
  ['{"method":"notifications\\/cancelled","params":{"requestId":7}}', "7"],
  ['{"method":"notifications/cancelled","params":{}}', null],
  ['{"method":"notifications/cancelled"}', null],
  ['{"method":"tools/call","params":{"requestId":7}}', null],
  ['{"method":"notifications/cancelled","params":{"requestId":7', null],
  ["nonsense", null],
  [' \n{"method":"notifications/cancelled","params":{"requestId":8}}', "8"],
] as const)("cancelledIn: %s", (text, id) => expect(cancelledIn(text)).toBe(id));

describe("idOf", () => {
  test.each([
    ['{"id":5,"method":', "5"],
    ['{"jsonrpc":"2.0","id":"q","id":"r"}', '"q"'],
    ['{"x":[[[[[["', null],
    ['{"id":5', null],
    ['{"id":nope}', null],
    ['{"id":"a\\x"}', null],
    ['[{"id":5}]', null],
    ["", null],
    [`{"a":"${"x".repeat(100_000)}","id":5}`, "5"],
    [`{"a":"${"x".repeat(100_000)}","id":5`, null],
  ])("of %p", (text, id) => expect(idOf(text)).toBe(id));

  test("T21: is fast on hostile text", () => {
    for (const text of ["[".repeat(4e6), '{"a":'.repeat(800_000), `{"id":${"9".repeat(4e6)}`]) {
      expect(idOf(text)).toBeNull();
      expect(fastest(() => idOf(text))).toBeLessThan(100);
    }
  });
});

test("T20: a mutated message is parsed or fails with a Failure", () => {
  const seed = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":[1,"\\"}"]}}}';
  const piece = fc.constantFrom(
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "0",
    "e",
    "null",
    "\u0000",
    "\ud800",
    '"id":2,',
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(seed.length), fc.nat(6), piece), { maxLength: 4 }), (changes) => {
      let text = seed;
      for (const [at, drop, add] of changes) text = text.slice(0, at) + add + text.slice(at + drop);
      idOf(text);
      try {
        JSON.parse(text);
      } catch {
        expect(failureCode(text)).toMatch(/^(parse-error|invalid-request)$/);
        return;
      }
      expect(failureCode(text) ?? "invalid-request").toBe("invalid-request");
    }),
    { numRuns: 3000 },
  );
});

function failureCode(text: string): string | null {
  try {
    parse(text);
    return null;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

describe("batches", () => {
  test("each message is returned as written", () => {
    const values = fc.array(fc.jsonValue({ maxDepth: 3 }), { minLength: 1, maxLength: 9 });
    const spaces = fc.constantFrom("", " ", "\n", "\t", "\r\n ");
    fc.assert(
      fc.property(values, spaces, (all, space) => {
        const text = `${space}${spaced(all, space)}${space}`;
        expect(isBatch(text)).toBe(true);
        const found = splitBatch(text, limits, 9);
        expect(found).toEqual(all.map((one) => spaced(one, space)));
      }),
    );
  });

  const most = 3;
  test.each([
    ["[]", "invalid-request"],
    [" [ ] ", "invalid-request"],
    ["[1,2,3,4]", "invalid-request"],
    ["[1,2", "parse-error"],
    ["[1,]", "parse-error"],
    ["[1]]", "parse-error"],
    ["[{},]", "parse-error"],
    ['[{"a":1,"a":2}]', "invalid-request"],
    [`${"[".repeat(200)}${"]".repeat(200)}`, "invalid-request"],
  ] as const)("S23, T21: %s is %s", (text, code) => void expectFailure(() => splitBatch(text, limits, most), code));

  test("the ids in a text, valid or not", () => {
    const request = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
    const answer = '{"jsonrpc":"2.0","id":"a","result":{}}';
    const batch = `[${request}, ${answer} ,5,{"method":"n"}]`;
    expect([request, answer, batch].map((text) => idsIn(text, "requests"))).toEqual([["1"], [], ["1"]]);
    expect([request, answer, batch].map((text) => idsIn(text, "responses"))).toEqual([[], ['"a"'], ['"a"']]);
    for (const text of [
      "",
      "[",
      "[]",
      "[,",
      "[[",
      "nonsense",
      `[${request}`,
      `[${request},`,
      `[${request} ${request}]`,
    ]) {
      for (const of of ["requests", "responses"] as const) expect(idsIn(text, of).length).toBeLessThan(2);
    }
  });

  test("T21: any text is split or refused with a Failure", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          splitBatch(`[${text}`, limits, most);
        } catch (error) {
          expect(error).toMatchObject({ name: "Failure" });
        }
      }),
    );
  });
});
