import { hashBytes, type Hash, sha256 } from "./chain.ts";

/** Merkle tree hash of RFC 6962 §2.1 over leaves that arrive one by one; keeps one hash per set bit of the size. */
export type Frontier = {
  size(): number;
  append(leaf: Hash): void;
  /** Root over all leaves so far; SHA-256 of nothing for an empty tree. */
  root(): Hash;
  /** The kept hashes, largest subtree first, concatenated. */
  save(): Uint8Array;
};

/** Continues from `size` leaves and what `save` gave then; throws when the two do not fit. */
export function createFrontier(size = 0, saved: Uint8Array = new Uint8Array(0)): Frontier {
  const subtrees: Hash[] = [];
  for (let at = 0; at < saved.length; at += hashBytes) subtrees.push(saved.slice(at, at + hashBytes));
  if (saved.length % hashBytes !== 0 || subtrees.length !== bits(size)) {
    throw new RangeError(`a frontier of ${saved.length} bytes does not belong to ${size} leaves`);
  }
  let count = size;

  return {
    size: () => count,
    append(leaf) {
      let hash = leaf;
      // Each trailing 1 bit of the old size is a subtree as large as the one just completed.
      for (let rest = count; rest % 2 === 1; rest = (rest - 1) / 2) {
        const left = subtrees.pop();
        if (left) hash = nodeOf(left, hash);
      }
      subtrees.push(hash);
      count += 1;
    },
    root() {
      const last = subtrees.at(-1);
      if (!last) return sha256("");
      return subtrees.slice(0, -1).reduceRight((hash, left) => nodeOf(left, hash), last);
    },
    save: () => new Uint8Array(Buffer.concat(subtrees)),
  };
}

const scratch = new Uint8Array(1 + 2 * hashBytes);
scratch[0] = 1;

function nodeOf(left: Hash, right: Hash): Hash {
  scratch.set(left, 1);
  scratch.set(right, 1 + hashBytes);
  return sha256(scratch);
}

function bits(size: number): number {
  let count = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
}
