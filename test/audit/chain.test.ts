import { expect, test } from "bun:test";
import { createHash, createHmac } from "node:crypto";
import { commitmentTo, genesis, hashText, leafOf, sameHash } from "../../src/audit/chain.ts";

const sha = (...parts: (string | Uint8Array)[]): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("base64url");
};

test("R9: links, leaves and commitments stay the same as in logs written earlier", () => {
  const [key, salt] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  expect(hashText(leafOf('{"a":"ü"}'))).toBe(sha("\0", '{"a":"ü"}'));
  expect(hashText(genesis("main", key))).toBe(sha("mcpgw-audit-v1\nmain", key));
  expect(hashText(genesis("other", key))).not.toBe(hashText(genesis("main", key)));
  expect(commitmentTo(salt, "ü")).toBe(createHmac("sha256", salt).update("ü").digest("base64url"));
  expect(hashText(leafOf(""))).toMatch(/^[\w-]{43}$/);
});

test("R9: hashes are equal only if all of their bytes are", () => {
  const hash = leafOf("x");
  expect(sameHash(hash, Uint8Array.from(hash))).toBe(true);
  for (let at = 0; at < hash.length; at++) {
    const other = Uint8Array.from(hash);
    other[at] = (other[at] ?? 0) ^ 1;
    expect(sameHash(hash, other)).toBe(false);
  }
});
