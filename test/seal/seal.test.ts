import { expect, test } from "bun:test";
import fc from "fast-check";
import { maxSealedLength } from "../../src/core/ports.ts";
import { createSealer, type SealKeys } from "../../src/seal/seal.ts";

const key = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);

function sealer(keys: SealKeys = [key(1), key(2)], start = 0) {
  let us = start;
  const made = createSealer(keys, { now: () => us, mono: () => us });
  return { ...made, pass: (ms: number) => void (us += ms * 1000) };
}

test("S07 D12: a sealed value opens only with the same purpose and context", () => {
  const one = sealer();
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string(), fc.string(), (value, purpose, context) => {
      const sealed = one.seal(purpose, context, value, 1000);
      expect(sealed).toMatch(/^[\w-]+$/);
      expect(one.open(purpose, context, sealed)).toBe(value.toWellFormed());
      expect(one.open(`${purpose}x`, context, sealed)).toBeNull();
      expect(one.open(purpose, `${context}x`, sealed)).toBeNull();
    }),
  );
  // Text cannot move from the purpose to the context.
  expect(one.open("a", "bc", one.seal("ab", "c", "x", 1000))).toBeNull();
});

test("S07 D12: a sealed value can be opened repeatedly until it expires", () => {
  const one = sealer();
  const sealed = one.seal("state", "key:a", "x", 600_000);
  one.pass(600_000);
  expect(one.open("state", "key:a", sealed)).toBe("x");
  expect(one.open("state", "key:a", sealed)).toBe("x");
  one.pass(1);
  expect(one.open("state", "key:a", sealed)).toBeNull();
});

test("S07: no two sealed texts share a nonce", () => {
  const one = sealer();
  const nonces = Array.from({ length: 100 }, () => one.seal("p", "c", "x", 1000).slice(0, 16));
  expect(new Set(nonces).size).toBe(100);
});

test("a text longer than any sealed value is not even decrypted", () => {
  const one = sealer();
  const lengths = [0, 1].map((more) => ((maxSealedLength / 4 + more) * 3 - 36) as number);
  const sealed = lengths.map((length) => one.seal("p", "c", "x".repeat(length), 1000));
  expect(sealed.map((text) => text.length)).toEqual([maxSealedLength, maxSealedLength + 4]);
  expect(sealed.map((text) => one.open("p", "c", text) !== null)).toEqual([true, false]);
});

test("S07: a change of any bit is detected, and so is another spelling", () => {
  const one = sealer();
  const sealed = one.seal("state", "key:a", "value", 1000);
  const bytes = Buffer.from(sealed, "base64url");
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const forged = Buffer.from(bytes);
    forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(one.open("state", "key:a", forged.toString("base64url"))).toBeNull();
  }
  const short = Array.from(bytes, (_byte, length) => bytes.subarray(0, length).toString("base64url"));
  for (const odd of [...short, "x", `${sealed}=`, `${sealed} `, sealed.slice(0, -1), "A".repeat(300_000)]) {
    expect(one.open("state", "key:a", odd)).toBeNull();
  }
});

test("seal.key: a value sealed with the previous key opens, one with an older key does not", () => {
  const sealed = sealer([key(1), key(0)]).seal("p", "c", "x", 1000);
  expect(sealer([key(2), key(1)]).open("p", "c", sealed)).toBe("x");
  expect(sealer([key(3), key(2)]).open("p", "c", sealed)).toBeNull();
});
