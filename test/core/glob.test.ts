import { expect, test } from "bun:test";
import fc from "fast-check";
import { compileGlob, covers, globTokens, literalTokens, matchTokens, overlap } from "../../src/core/glob.ts";
import { fastest } from "../support/fastest.ts";

const rows: [glob: string, text: string, matches: boolean][] = [
  ["*", "", true],
  ["*", "a.b/c", true],
  ["get_*", "get_user", true],
  ["get_*", "Get_user", false],
  ["get_*", "forget_user", false],
  ["*_drop_*", "db_drop_table", true],
  ["a*c*e", "abcde", true],
  ["a*c*e", "abcdef", false],
  ["?", "é", true],
  ["?", "😀", true],
  ["a?c", "ac", false],
  ["[ab]", "a", false],
  ["[ab]", "[ab]", true],
  ["!a", "b", false],
  ["{a,b}", "a", false],
  ["file:///*/x", "file:///a/b/.c/x", true],
  ["", "", true],
  ["", "a", false],
];

test.each(rows)("R4 globs: %p matches %p: %p", (glob, text, matches) => {
  expect(compileGlob(glob)(text)).toBe(matches);
});

test("R4 globs agree with a naive reference", () => {
  const reference = (glob: string, text: string): boolean => {
    if (glob === "") return text === "";
    if (glob[0] === "*") return reference(glob.slice(1), text) || (text !== "" && reference(glob, text.slice(1)));
    return text !== "" && (glob[0] === "?" || glob[0] === text[0]) && reference(glob.slice(1), text.slice(1));
  };
  const glob = fc.string({ unit: fc.constantFrom("a", "b", "*", "?"), maxLength: 8 });
  const text = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 10 });
  fc.assert(
    fc.property(glob, text, (g, t) => compileGlob(g)(t) === reference(g, t)),
    { numRuns: 2000 },
  );
});

test("S27: two globs overlap exactly if both match some text", () => {
  const glob = fc.string({ unit: fc.constantFrom("a", "b", "*", "?"), maxLength: 5 });
  const texts = [""];
  for (const text of texts) if (text.length < 8) texts.push(`${text}a`, `${text}b`);
  fc.assert(
    fc.property(glob, glob, (a, b) => {
      const both = texts.some((text) => compileGlob(a)(text) && compileGlob(b)(text));
      return overlap(globTokens(a), globTokens(b)) === both;
    }),
    { numRuns: 1000 },
  );
  const long = "x?".repeat(1000);
  expect(["a", "b"].map((first) => overlap(globTokens(`a${long}`), globTokens(first + long)))).toEqual([true, false]);
});

test("S27: a glob covers another only if it matches everything that the other matches", () => {
  const glob = fc.string({ unit: fc.constantFrom("a", "b", "*", "?"), maxLength: 6 });
  const text = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 6 });
  fc.assert(
    fc.property(
      glob,
      glob,
      text,
      (a, b, t) => !covers(globTokens(a), globTokens(b)) || !compileGlob(b)(t) || compileGlob(a)(t),
    ),
    { numRuns: 2000 },
  );
});

test("globs match in bounded time where backtracking would hang", () => {
  expect(compileGlob(`${"*a".repeat(200)}*b`)("a".repeat(10_000))).toBe(false);
});

test("checking whether a glob with a leading `*` overlaps a caller's long glob costs next to nothing", () => {
  const long = globTokens(`http://${"a".repeat(8_000)}*`);
  const globs = Array.from({ length: 200 }, (_, i) => globTokens(`*/private${i}/*.key`));
  expect(globs.every((glob) => overlap(glob, long) && overlap(long, glob))).toBe(true);
  expect(fastest(() => globs.some((glob) => !overlap(glob, long) || !overlap(long, glob)))).toBeLessThan(50);
});

test("literal tokens contain no wildcards", () => {
  expect(matchTokens([...literalTokens("*"), ...globTokens("/*")], "x/1")).toBe(false);
  expect(matchTokens([...literalTokens("*"), ...globTokens("/*")], "*/1")).toBe(true);
});

test("S23: a long text is scanned for wildcards once, however many globs it is compared with", () => {
  let looks = 0;
  const text = Object.assign(Array.from("x".repeat(8192)), { includes: () => (looks++, false) });
  for (let n = 0; n < 100; n++) expect(overlap(globTokens(`a${n}*`), text)).toBe(false);
  expect(looks).toBe(2);
});
