import { expect, test } from "bun:test";
import { fromOptions, sameKey } from "../../src/authn/entry.ts";
import { newKey } from "../../src/authn/new-key.ts";
import { keyOptions } from "../../src/authn/options.ts";
import { hashKey } from "../../src/core/key-hash.ts";

const { key } = newKey();
const entry = (more: object = {}) =>
  fromOptions(keyOptions.parse({ id: "k1", key, consumerId: "agent", roles: ["reader"], ...more }));
const changes: object[] = [
  { key: newKey().key },
  { name: "Agent" },
  { consumerId: "other" },
  { roles: ["reader", "admin"] },
  { enabled: false },
  { expiresAt: "2099-01-01" },
  { rateLimit: "1/m" },
  { cidrs: ["10.0.0.0/8"] },
];

test("a weak key is not the same as a keyHash of it, whose weakness cannot be seen", () => {
  const weak = "password123";
  const hashed = entry({ key: undefined, keyHash: `sha256:${hashKey(weak)}` });
  expect(sameKey(entry({ key: weak }), hashed)).toBe(false);
});

test.each(changes)("a key with a changed option is not the same key: %j", (change) => {
  expect(sameKey(entry(), entry())).toBe(true);
  expect(sameKey(entry(), entry(change))).toBe(false);
  expect(sameKey(entry(change), entry(change))).toBe(true);
});
