import { hashBytes, type Hash, sha256 } from "./chain.ts";

/** The Merkle tree hash of RFC 6962 §2.1 over leaves that arrive one by one; keeps one hash per set bit of the size. */
export type Frontier = {
  size(): number;
  /** Appends one leaf, or several concatenated. */
  append(leaves: Uint8Array): void;
  /** Returns the root over all leaves so far; SHA-256 of nothing for an empty tree. */
  root(): Hash;
  /** Returns the kept hashes concatenated, largest subtree first. */
  save(): Uint8Array;
};

/** Continues from `size` leaves and what `save` returned for them; throws if the two do not fit together. */
export function createFrontier(size = 0, saved: Uint8Array = new Uint8Array(0)): Frontier {
  if (saved.length !== bits(size) * hashBytes) {
    throw new RangeError(`a frontier of ${saved.length} bytes does not belong to ${size} leaves`);
  }
  // These hashes are overwritten in place, since every record of the chain passes through here.
  const subtrees: Hash[] = [];
  let kept = 0;
  let count = size;
  const push = (from: Uint8Array, at: number): void => {
    const slot = (subtrees[kept++] ??= new Uint8Array(hashBytes));
    for (let byte = 0; byte < hashBytes; byte += 1) slot[byte] = from[at + byte] ?? 0;
  };
  for (let at = 0; at < saved.length; at += hashBytes) push(saved, at);

  return {
    size: () => count,
    append(leaves) {
      for (let at = 0; at < leaves.length; at += hashBytes) {
        push(leaves, at);
        // Each trailing 1 bit of the old size is a subtree as large as the one just completed.
        for (let rest = count; rest % 2 === 1; rest = (rest - 1) / 2) {
          const [left, right] = [subtrees[kept - 2], subtrees[kept - 1]];
          if (left && right) nodeOf(left, right, left);
          kept -= 1;
        }
        count += 1;
      }
    },
    root() {
      if (kept === 0) return sha256("");
      const root = subtrees[kept - 1]?.slice() ?? new Uint8Array(hashBytes);
      for (const left of subtrees.slice(0, kept - 1).reverse()) nodeOf(left, root, root);
      return root;
    },
    save: () => new Uint8Array(Buffer.concat(subtrees.slice(0, kept))),
  };
}

const scratch = new Uint8Array(1 + 2 * hashBytes);
scratch[0] = 1;

function nodeOf(left: Hash, right: Hash, into: Hash): void {
  scratch.set(left, 1);
  scratch.set(right, 1 + hashBytes);
  Bun.SHA256.hash(scratch, into);
}

function bits(size: number): number {
  let count = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
}
