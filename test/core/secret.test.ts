import { expect, test } from "bun:test";
import { maskable, maskValues, secretName, withEarlier } from "../../src/core/secret.ts";

test("R17: values are masked in full, in whatever order they are given", () => {
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

test("secrets of earlier configurations stay known after the current ones, and the oldest are dropped", () => {
  expect(withEarlier(["new", "kept"], ["kept", "old"])).toEqual(["new", "kept", "old"]);
  let known: readonly string[] = [];
  for (let i = 0; i < 500; i += 1) known = withEarlier([`secret-${i}`], known);
  expect(known).toHaveLength(101);
  expect(known.slice(0, 2)).toEqual(["secret-499", "secret-498"]);
});
