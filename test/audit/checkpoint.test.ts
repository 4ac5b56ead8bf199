import { expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../../src/audit/chain.ts";
import {
  checkpointsIn,
  originOf,
  originsIn,
  parseCheckpoints,
  piecesOf,
  signCheckpoint,
} from "../../src/audit/checkpoint.ts";
import { gatherEvidence } from "../../src/audit/evidence.ts";
import {
  generateSigningKey,
  installOf,
  parsePublicKey,
  publicKeyText,
  readSigningKey,
} from "../../src/audit/signing-key.ts";
import { tempState } from "../support/audit.ts";
import { fastest } from "../support/fastest.ts";

const key = readSigningKey(generateSigningKey());
const other = readSigningKey(generateSigningKey());
const origin = originOf("0123", "main");
const note = signCheckpoint({ origin, size: 42, root: sha256("root"), at: Date.UTC(2026, 10, 21) }, key);

test("R9 checkpoint: a note is read back with its size, root and time, and its signature verifies", () => {
  expect([...parseCheckpoints(note, key.publicKey)]).toEqual([
    { origin, size: 42, root: sha256("root"), at: Date.UTC(2026, 10, 21), signed: true },
  ]);
  expect(note.split("\n").slice(0, 3)).toEqual([origin, "42", sha256("root").toBase64()]);
});

test("R9: an installation keeps its id, which names its files outside the state directory", () => {
  expect(installOf(new Uint8Array(32).fill(7))).toBe("4bb06f8e4e3a7715");
});

test("checkpoint: a file of many notes yields each in order, and text around them does not matter", () => {
  const second = signCheckpoint({ origin, size: 43, root: sha256("x"), at: 0 }, key);
  const found = [...parseCheckpoints(`garbage\n\n${note}\n${second}\ntail`, key.publicKey)];
  expect(found.map(({ size, signed }) => [size, signed])).toEqual([
    [42, true],
    [43, true],
  ]);
});

/** The note with one byte of its signature line changed; the first four bytes are the key id. */
function changed(at: number): string {
  const blob = note.trimEnd().split(" ").at(-1) ?? "";
  const bytes = Buffer.from(blob, "base64");
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return note.replace(blob, bytes.toString("base64"));
}

const forgeries: Record<string, string> = {
  "another signer": note.replace(`— ${origin}`, `— ${originOf("0123", "serve-1")}`),
  "the start of another key id": changed(0),
  "the end of another key id": changed(3),
  "another signature": changed(4),
  "another size": note.replace("\n42\n", "\n43\n"),
  "another time": note.replace("2026", "2027"),
  "another origin": note.replaceAll(origin, originOf("0123", "serve-1")),
  "another key": signCheckpoint({ origin, size: 42, root: sha256("root"), at: 0 }, other),
};
for (const [name, text] of Object.entries(forgeries)) {
  test(`A14 A15 checkpoint: ${name} is not signed`, () => {
    expect([...parseCheckpoints(text, key.publicKey)].map(({ signed }) => signed)).toEqual([false]);
  });
}

test("A14 A15 checkpoint: each of many is found in order as signed or not, also if other threads check the signatures", async () => {
  const lines = note.trimEnd().split(" ");
  const long = note.replace(lines.at(-1) ?? "", Buffer.alloc(90, lines.at(-1), "base64").toString("base64"));
  const all = [note, ...Object.values(forgeries), long];
  const text = Array.from({ length: 100 }, (_, n) => all[(n * 7) % all.length]).join("\n");
  for (const publicKey of [key.publicKey, other.publicKey, new Uint8Array(32).fill(0xfb)]) {
    const found = [...parseCheckpoints(text, publicKey)];
    expect(found).toHaveLength(100);
    expect(await Array.fromAsync(checkpointsIn(text, publicKey, () => true))).toEqual(found);
  }
});

test("checkpoint: a note cut short anywhere is ignored; those before and after it are read", () => {
  for (let length = 1; length < note.length - 2; length++) {
    const text = `${note}\n${note.slice(0, length)}`;
    const sizes = (all: string) => [...parseCheckpoints(all, key.publicKey)].map(({ size, signed }) => [size, signed]);
    expect(sizes(text)).toEqual([[42, true]]);
    expect(sizes(`${text}\n\n${signCheckpoint({ origin, size: 43, root: sha256("x"), at: 0 }, key)}`)).toEqual([
      [42, true],
      [43, true],
    ]);
  }
});

test("R9 checkpoint: pieces of a text that arrives in parts hold whole notes, wherever the parts are cut", async () => {
  const notes = [42, 43, 44].map((size) => signCheckpoint({ origin, size, root: sha256("x"), at: 0 }, key));
  const text = `spring\n${notes.join("\n")}`;
  for (let length = 1; length < text.length; length++) {
    const parts = Array.from({ length: Math.ceil(text.length / length) }, (_, n) =>
      text.slice(n * length).slice(0, length),
    );
    const pieces = await Array.fromAsync(piecesOf(parts));
    expect(pieces.join("")).toBe(text);
    expect(pieces.flatMap((piece) => [...parseCheckpoints(piece, key.publicKey)].map(({ size }) => size))).toEqual([
      42, 43, 44,
    ]);
  }
});

test("R9 checkpoint: of a long text that arrives in parts, little is kept, no note is lost, and none is found within a line", async () => {
  const garbage = Array.from({ length: 40 }, () => "x".repeat(100_000));
  const found = async (parts: readonly string[]) => {
    const pieces = await Array.fromAsync(piecesOf(parts));
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(2_000_000);
    expect(pieces.join("")).toBe(parts.join(""));
    return pieces.flatMap((piece) => [...originsIn(piece)]);
  };
  expect(await found([...garbage, "\nmcp", note.slice(3)])).toEqual([origin]);
  expect(await found([note, ...garbage])).toEqual([origin]);
  for (const begun of [5, 6, 7])
    expect(await found(["x".repeat(1_500_000) + note.slice(0, begun), note.slice(begun)])).toEqual([]);
});

test("checkpoint: a note cut short right before another does not replace it", () => {
  const short = note.slice(0, note.indexOf("\n\n") + 1);
  expect([...parseCheckpoints(short + note, key.publicKey)].map(({ size, signed }) => [size, signed])).toEqual([
    [42, true],
  ]);
});

test("checkpoint: in a text whose beginning is cut off anywhere, no checkpoint appears to belong to another installation", () => {
  for (let start = 1; start < note.length; start++) {
    expect([...originsIn(`${note.slice(start)}\n${note}`)]).toEqual([origin]);
  }
});

test("checkpoint: the public key is read as verifier key text and as base64", () => {
  // 0xfb in each byte produces plus signs, which also separate the parts of a verifier key.
  for (const publicKey of [key.publicKey, new Uint8Array(32).fill(0xfb)]) {
    expect(parsePublicKey(publicKeyText("mcpgw/x", publicKey))).toEqual(publicKey);
    expect(parsePublicKey(` ${publicKey.toBase64()}\n`)).toEqual(publicKey);
  }
  const text = publicKeyText("mcpgw/x", key.publicKey);
  const other = (char: string): string => (char === "0" ? "1" : "0");
  const mistyped = [`mcpgw/y${text.slice(7)}`, text.replace(/(?<=\+)./, other), text.replace(/.$/, other)];
  const ofKind = (kind: number, ...more: number[]) => Uint8Array.of(kind, ...key.publicKey, ...more).toBase64();
  for (const bad of ["", "x", "mcpgw+1+zz", key.publicKey.toHex(), ofKind(2), ofKind(1, 0), ...mistyped]) {
    expect(parsePublicKey(bad)).toBeNull();
  }
});

test("checkpoint: a signing key must be an Ed25519 key", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  expect(() => readSigningKey(pem)).toThrow("the signing key is not an Ed25519 key");
});

test("checkpoint: checkpoints of other chains are omitted, signed or not", () => {
  const foreign = signCheckpoint({ origin: originOf("0123", "serve-1"), size: 9, root: sha256("x"), at: 0 }, other);
  const found = [...parseCheckpoints(`${foreign}\n${note}`, key.publicKey, (name) => name === origin)];
  expect(found.map(({ size, signed }) => [size, signed])).toEqual([[42, true]]);
});

test("checkpoint: other work of the thread runs while many signatures are checked", async () => {
  using at = tempState();
  const file = join(at.root, "notes");
  writeFileSync(file, `${note}\n`.repeat(2000));
  const publicKey = key.publicKey.toBase64();
  const { optionsFor } = await gatherEvidence({ dir: null, publicKey, sources: [file] });
  // The notes name another installation than the key's.
  expect((await optionsFor("main")).checkpoints).toEqual([]);
  const own = signCheckpoint(
    { origin: originOf(installOf(key.publicKey), "main"), size: 42, root: sha256("root"), at: 0 },
    key,
  );
  // A signature of another signer is not even checked.
  for (const one of [own, own.replace("— ", "— another/")]) {
    const texts = [{ source: "given", text: `${one}\n`.repeat(2000) }];
    // No file is awaited, so only the checks can leave turns for other work.
    let turns = 0;
    const again = (): void => void ((turns += 1), (next = setImmediate(again)));
    let next = setImmediate(again);
    const found = await gatherEvidence({ dir: null, publicKey, sources: [], texts });
    clearImmediate(next);
    expect((await found.optionsFor("main")).checkpoints).toHaveLength(2000);
    expect(turns).toBeGreaterThan(50);
  }
});

test("R9: other work gets its turn while many checkpoints are searched for chains", async () => {
  const install = installOf(key.publicKey);
  const text =
    `${signCheckpoint({ origin: originOf(install, "main"), size: 42, root: sha256("root"), at: 0 }, key)}\n`.repeat(
      5000,
    );
  let turns = 0;
  const again = (): void => void ((turns += 1), (next = setImmediate(again)));
  let next = setImmediate(again);
  const texts = [{ source: "given", text }];
  const { chains } = await gatherEvidence({ dir: "/nowhere", sources: [], texts, ownKey: key.publicKey });
  clearImmediate(next);
  expect(chains).toEqual(["main"]);
  expect(turns).toBeGreaterThan(3);
});

test("S23 checkpoint: a text crafted to be slow to scan is not slow", () => {
  const root = `${"A".repeat(43)}=`;
  const headers = `mcpgw/a\n1\n${root}\n`.repeat(4_000);
  const signatures = `— ${"x".repeat(100)} ${"A".repeat(200)}!\n`.repeat(600);
  for (const text of [
    headers,
    `${headers}\n${signatures}`,
    `mcpgw/a\n1\n${root}\n${"x".repeat(200_000)}`,
    "1\n".repeat(100_000),
  ])
    expect(fastest(() => [...originsIn(text)])).toBeLessThan(250);
});
