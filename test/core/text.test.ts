import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { cut, foldCase, plain, plainJson } from "../../src/core/text.ts";

const hidden =
  "\u0000 \n \u001b \u007f \u009b \u00ad \u034f \u061c \u115f \u1160 \u180e \u200b \u200d \u202e \u2028 \u2029 " +
  "\u2060 \u2066 \u2800 \u3164 \ufe0f \ufeff \uffa0 \ufff9 \ufffc \u{e0041} \u{e0101}";

test.each(hidden.split(" "))("T58: %j is made visible, even inside a name", (char) => {
  const code = char.codePointAt(0)?.toString(16) ?? "";
  expect(plain(`get${char}all`)).toBe(`get\\u{${code}}all`);
  expect(JSON.parse(plainJson(JSON.stringify(`get${char}all`)))).toBe(`get${char}all`);
  expect(plainJson(JSON.stringify(char))).toMatch(/^[ -~]*$/);
});

test("T58: text in any script stays unchanged, and so does an emoji with its variation selector", () => {
  const text = "Überprüfe\tdas: 世界, мир, שלום, العالم, नमस्ते, e\u0301, ⚠\ufe0f 🗑\ufe0f 👍";
  expect(plain(text)).toBe(text);
});

test("a text is cut to at most N characters including the ellipsis", () => {
  expect([cut("four", 4), cut("fours", 4)]).toEqual(["four", "fou…"]);
});

test("a text is never cut inside a surrogate pair, because many parsers refuse half of one", () => {
  expect([cut("abcd", 4), cut("abcde", 4), cut("ab😀e", 4), cut("a😀de", 4)]).toEqual(["abcd", "abc…", "ab…", "a😀…"]);
});

test("a cut text does not keep the whole text in memory", () => {
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const long = (at: number): string => Buffer.alloc(2 ** 20, "x").toString() + at;
  const before = heap();
  const kept = Array.from({ length: 100 }, (_, at) => cut(long(at), 200));
  expect(heap() - before).toBeLessThan(20 * 2 ** 20);
  expect(kept.at(-1)).toBe(`${"x".repeat(199)}…`);
});

test("S27: keys that servers treat as equal are folded to the same spelling, even beyond ASCII", () => {
  for (const key of ["arguments", "ARGUMENTS", "argument\u017f", "Argument\u017f"])
    expect(foldCase(key)).toBe(foldCase("Arguments"));
  for (const key of ["stra\u00dfe", "STRA\u1e9eE"]) expect(foldCase(key)).toBe(foldCase("Stra\u00dfe"));
  expect([foldCase("tas\u212a"), foldCase("\u2126\u03c2")]).toEqual([foldCase("task"), foldCase("\u03c9\u03c3")]);
  expect(foldCase("argument")).not.toBe(foldCase("arguments"));
});
