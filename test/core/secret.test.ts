import { expect, test } from "bun:test";
import { maskable, maskValues, secretName } from "../../src/core/secret.ts";

test("R17: values are masked as a whole, whatever the order they are known in", () => {
  const values = maskable(["abc", "", "abcdef", "abc", "$&"]);
  expect(maskValues("abcdef abc $& ab", values)).toBe("[redacted] [redacted] [redacted] ab");
});

test.each([
  ["API_KEY", true],
  ["X-Auth-Token", true],
  ["githubToken", true],
  ["Cookie", true],
  ["SSH_PASSPHRASE", true],
  ["KEYBOARD", false],
  ["TOKENIZER", false],
])("R17: %s names a secret: %p", (name, expected) => expect(secretName.test(name)).toBe(expected));
