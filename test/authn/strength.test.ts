import { expect, test } from "bun:test";
import { weakness } from "../../src/authn/strength.ts";

const random = "f1d2c3b4a5968778695a4b3c2d1e0f1a";

test.each(["your", "Example", "change_me", "REPLACE-me", "xxxxx"])(
  "a key that says %s is a placeholder, however long",
  (word) => {
    for (const text of [`${word}-${random}`, `key_${word}_${random}`, `${random}-${word}`])
      expect(weakness(text)).toBe("is a placeholder");
    expect(weakness(`z${word}${random}`)).toBeNull();
  },
);

test("128 bits are enough, and a bit less is not", () => {
  expect(weakness(random)).toBeNull();
  expect(weakness(random.slice(1))).toBe("has about 124 bits of the 128 that a key needs");
});

test.each([
  ["small letters", (text: string) => text],
  ["capitals", (text: string) => text.toUpperCase()],
  ["a capital and small letters", (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`],
])("a run of up to twelve letters in %s counts like a word, a longer one by its letters", (_, spelled) => {
  const runs = ["abcdefghijkl", "bcdefghijklm", "cdefghijklmn", "defghijklmno"];
  expect(weakness(runs.map(spelled).join("-"))).toBe("has about 48 bits of the 128 that a key needs");
  expect(weakness(runs.map((run) => spelled(`${run}z`)).join("-"))).toBeNull();
});

test.each([`${random},`, `${random.slice(1)},0`, ` ${random}`, `${random}\n`, `${random}\t`, `${random}\nv2`])(
  "a key that no header carries as it is, %j, is never accepted, however random",
  (text) => {
    expect(weakness(text)).toBe("has a comma, a line break, or a blank at an end, which no header can carry");
  },
);

test("a key of which no caller's copy would be read, since it is too long, is never accepted", () => {
  const long = random.repeat(16);
  expect([weakness(long), weakness(`${long}0`)]).toEqual([
    null,
    "has more than the 512 characters that are read of a key",
  ]);
});
