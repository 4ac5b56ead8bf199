import { expect, test } from "bun:test";
import { weakness } from "../../src/authn/strength.ts";

const random = "f1d2c3b4a5968778695a4b3c2d1e0f1a";

test.each(["your", "Example", "change_me", "REPLACE-me", "xxxxx"])(
  "a key that contains the word %s is a placeholder, whatever its length",
  (word) => {
    for (const text of [`${word}-${random}`, `key_${word}_${random}`, `${random}-${word}`])
      expect(weakness(text)).toBe("is a placeholder");
    expect(weakness(`z${word}${random}`)).toBeNull();
  },
);

test("128 bits are enough, and 124 bits are not", () => {
  expect(weakness(random)).toBeNull();
  expect(weakness(random.slice(1))).toBe("has about 124 bits of entropy; a key needs 128");
});

test.each([
  ["lower case", (text: string) => text],
  ["upper case", (text: string) => text.toUpperCase()],
  ["a capital and lower case", (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`],
])("a run of up to twelve letters in %s counts as one word, and a longer run by its letters", (_, spelled) => {
  const runs = ["abcdefghijkl", "bcdefghijklm", "cdefghijklmn", "defghijklmno"];
  expect(weakness(runs.map(spelled).join("-"))).toBe("has about 48 bits of entropy; a key needs 128");
  expect(weakness(runs.map((run) => spelled(`${run}z`)).join("-"))).toBeNull();
});

test.each([`${random},`, `${random.slice(1)},0`, ` ${random}`, `${random}\n`, `${random}\t`, `${random}\nv2`])(
  "a key that no header can carry unchanged, %j, is never accepted, however random",
  (text) => {
    expect(weakness(text)).toBe("has a comma, a line break, or leading or trailing space, which no header can carry");
  },
);

test("a configured key that is longer than the gateway accepts from a caller is never accepted", () => {
  const long = random.repeat(16);
  expect([weakness(long), weakness(`${long}0`)]).toEqual([
    null,
    "is longer than 512 characters, the maximum length of a key",
  ]);
});
