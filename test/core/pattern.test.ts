import { expect, test } from "bun:test";
import { compilePattern } from "../../src/core/pattern.ts";
import { fastest } from "../support/fastest.ts";

const rows: [source: string, text: string, matches: boolean][] = [
  ["^a+$", "aaa", true],
  ["b", "abc", true],
  ["^[\\u4e00-\\u9fa5]+$", "中文", true],
  ["^\\p{L}+$", "é", true],
  ["^a$", "a\n", false],
];

test.each(rows)("pattern %p matches %p: %p", (source, text, matches) => {
  expect(compilePattern(source)?.test(text)).toBe(matches);
});

test.each(["(?=a)b", "(a)\\1", "(?<=a)b", "(", "(a{1000}){1000}", "a".repeat(1001)])(
  "pattern %p is refused",
  (source) => {
    expect(compilePattern(source)).toBeNull();
  },
);

test.each([
  `(?:${"(a{0,999})".repeat(90)}){0,}`,
  `[^]${"(a{0,999})".repeat(90)}]`,
  `\\Q[\\E${"(a{0,999})".repeat(90)}]`,
  `(?:${"ab".repeat(470)})\\Q\\E{0,999}`,
  `(?:${"ab".repeat(300)})(?i){0,600}`,
])("S05 pattern %p is refused before it is compiled", (source) => {
  expect(fastest(() => compilePattern(source))).toBeLessThan(10);
});

test.each(["^(a+)+$", "(x+x+)+y", "(a|a)*$", "^(a|b)*a(a|b){150}$"])("pattern %p never hangs", (source) => {
  const pattern = compilePattern(source);
  expect(pattern?.test(`${"a".repeat(20_000)}!`)).toBe(source === "(a|a)*$");
});

test("a text that is too long for the bound is not matched", () => {
  const pattern = compilePattern("a");
  const long = "a".repeat(20_000_001);
  expect(pattern?.fits(long)).toBe(false);
  expect(pattern?.test(long)).toBe(false);
});
