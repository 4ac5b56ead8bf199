import { expect, test } from "bun:test";
import fc from "fast-check";
import { leafOf, sha256 } from "../../src/audit/chain.ts";
import { createFrontier } from "../../src/audit/merkle.ts";

/** The literal definition of RFC 6962 §2.1. */
function treeHash(leaves: readonly Uint8Array[]): Uint8Array {
  const [first] = leaves;
  if (!first) return sha256("");
  if (leaves.length === 1) return first;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return sha256(Buffer.concat([Uint8Array.of(1), treeHash(leaves.slice(0, split)), treeHash(leaves.slice(split))]));
}

test("R9 merkle: the root equals that of RFC 6962 for every size up to 130", () => {
  const frontier = createFrontier();
  const leaves: Uint8Array[] = [];
  for (let size = 0; size <= 130; size += 1) {
    expect(frontier.root()).toEqual(treeHash(leaves));
    expect(frontier.size()).toBe(size);
    const leaf = leafOf(String(size));
    frontier.append(leaf);
    leaves.push(leaf);
  }
});

test("merkle: a saved frontier continues as if it had never stopped", () => {
  fc.assert(
    fc.property(fc.nat(300), fc.nat(50), (before, after) => {
      const whole = createFrontier();
      for (let i = 0; i < before; i += 1) whole.append(leafOf(String(i)));
      const resumed = createFrontier(before, whole.save());
      for (let i = 0; i < after; i += 1) {
        whole.append(leafOf(`+${i}`));
        resumed.append(leafOf(`+${i}`));
      }
      expect(resumed.root()).toEqual(whole.root());
    }),
    { numRuns: 30 },
  );
});

test("merkle: a frontier of another size is refused", () => {
  expect(() => createFrontier(3, new Uint8Array(32))).toThrow(RangeError);
  expect(() => createFrontier(1, new Uint8Array(31))).toThrow(RangeError);
});

test("chain: the leaf is SHA-256 of a zero byte and the record's UTF-8", () => {
  const expected = new Bun.CryptoHasher("sha256").update(Uint8Array.of(0)).update("é{}").digest("hex");
  expect(leafOf("é{}").toHex()).toBe(expected);
});
