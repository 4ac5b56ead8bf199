import { expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { genesis, hashText, leafOf } from "../../src/audit/chain.ts";
import { originOf, parsePublicKey, readSigningKey } from "../../src/audit/checkpoint.ts";
import { readHead } from "../../src/audit/outside.ts";
import { createEncoder } from "../../src/audit/record.ts";
import { Verifier } from "../../src/audit/verify.ts";
import { reasonOf } from "../support/failure.ts";
import { tempState } from "./support.ts";

// What somebody may write who can change the whole chain and all of its hashes, but no checkpoint.

const publicKey = new Uint8Array(32).fill(7);
const first = hashText(genesis("main", publicKey));

/** A record whose text says this of its place; its hash and its link are right. */
function row(seq: number, prev: string, says: { seq?: number; chain?: string } = {}) {
  const encoder = createEncoder({ chain: says.chain ?? "main", boot: "b", node: "n", ver: "1" });
  const rec = encoder.encode({ type: "call.end", at: 0, mono: 0 }, says.seq ?? seq, prev).toString("utf8", 1);
  return { seq, rec, leaf: leafOf(rec) };
}

function report(...rows: ReturnType<typeof row>[]) {
  const chain = "main";
  const verifier = new Verifier({ chain, origin: originOf("i", chain), checkpoints: [], publicKey, head: null });
  for (const one of rows) if (!verifier.push(one)) break;
  return verifier.report();
}

test("A01: a record is at the place and in the chain that its own text names", () => {
  const one = row(1, first);
  const after = hashText(one.leaf);
  expect(report(one, row(2, after))).toMatchObject({ exit: 3, bad: null, records: 2 });
  expect(report(one, row(2, after, { seq: 5 })).bad).toMatchObject({ kind: "misplaced", seq: 2 });
  expect(report(one, row(2, after, { chain: "serve-1" })).bad).toMatchObject({ kind: "foreign", seq: 2 });
  for (const seq of [0, -3]) expect(report(row(seq, first), one).bad).toMatchObject({ kind: "misplaced", seq: null });
});

test("A01: evidence that is damaged or cannot be read is no missing evidence", async () => {
  using at = tempState();
  const file = join(at.root, "main.head");
  expect(await readHead(at.root, "main")).toBeNull();
  for (const text of ["", "{", "7", '{"seq":1}', '{"leaf":"x"}', '{"seq":"1","leaf":"x"}']) {
    writeFileSync(file, text);
    expect(String(await reasonOf(readHead(at.root, "main")))).toContain("damaged");
  }
  writeFileSync(file, '{"seq":1,"leaf":"x"}');
  expect(await readHead(at.root, "main")).toEqual({ chain: "main", seq: 1, leaf: "x" });
  rmSync(file);
  mkdirSync(file);
  expect(String(await reasonOf(readHead(at.root, "main")))).toContain("EISDIR");
});

test("only Ed25519 keys sign and verify", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  expect(() => readSigningKey(pem)).toThrow("no Ed25519 key");
  const text = (kind: number): string => Uint8Array.of(kind, ...publicKey).toBase64();
  expect([parsePublicKey(text(1)), parsePublicKey(text(2))]).toEqual([publicKey, null]);
});
