import { expect, setDefaultTimeout, test } from "bun:test";
import { createHash, createHmac, createPublicKey, verify } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { everything, fake, Place, start } from "../support/daemon.ts";
import { until } from "../support/until.ts";

// Verifies exports using only the format described in scripts/docs/audit.md, and none of the program's code.

// Each command is a process, which takes long on a busy machine.
setDefaultTimeout(30_000);

type Evidence = { readonly log: string; readonly checkpoints: string; readonly signingPub: string };
type Rec = { chain: string; seq: number; prev: string; ad?: string; rd?: string; pay?: string; src?: string };
type Line = {
  chain: string;
  leaf: string;
  seq: number;
  rec: Rec;
  payloads?: { body: string; part: string; salt: string }[];
};

function demand(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

const sha256 = (...parts: (string | Uint8Array)[]): Buffer => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** Canonicalizes (RFC 8785) the values that records have. */
function spell(value: unknown): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(spell).join(",")}]`;
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${spell(member)}`).join(",")}}`;
}

function readLine(text: string): Line {
  const line = JSON.parse(text) as Line; // errors in it are found below
  const { chain, leaf, seq, rec, payloads } = line;
  const head = `{"chain":${JSON.stringify(chain)},"leaf":${JSON.stringify(leaf)},"seq":${seq},"rec":${spell(rec)}`;
  // A repeated member, or one in another place, changes the text.
  demand(text === `${head}${payloads ? `,"payloads":${spell(payloads)}` : ""}}`, "spelled otherwise");
  return line;
}

function keyIn(signingPub: string): Buffer {
  const bytes = Buffer.from(signingPub.trim().split("+").slice(2).join("+"), "base64");
  demand(bytes.length === 33 && bytes[0] === 1, "no Ed25519 key");
  return bytes.subarray(1);
}

function rootOf(leaves: readonly Buffer[]): Buffer {
  const [first] = leaves;
  if (leaves.length < 2) return first ?? sha256();
  let k = 1;
  while (2 * k < leaves.length) k *= 2;
  return sha256(Uint8Array.of(1), rootOf(leaves.slice(0, k)), rootOf(leaves.slice(k)));
}

function checkPayload({ rec, payloads = [] }: Line): void {
  const [payload] = payloads;
  if (!payload) return;
  const commitment = { args: rec.ad, result: rec.rd }[payload.part];
  demand(payloads.length === 1 && commitment !== undefined, "a payload that the record does not commit to");
  const found = createHmac("sha256", Buffer.from(payload.salt, "base64url")).update(payload.body).digest("base64url");
  demand(rec.pay === "digest" ? payload.body === "" : found === commitment, "another payload");
  demand(Buffer.from(payload.salt, "base64url").toString("base64url") === payload.salt, "another salt");
}

/** Returns the leaves of one chain after checking that its lines fit together. */
function leavesOf(lines: readonly Line[], key: Buffer): Buffer[] {
  let prev = sha256(`mcpgw-audit-v1\n${lines[0]?.chain}`, key).toString("base64url");
  return lines.map((line, at) => {
    const leaf = sha256(Uint8Array.of(0), spell(line.rec));
    demand(leaf.toString("base64url") === line.leaf, "another leaf");
    demand(line.rec.prev === prev && line.rec.chain === line.chain, "not linked");
    demand(line.rec.seq === line.seq && line.seq === at + 1, "out of order");
    checkPayload(line);
    prev = line.leaf;
    return leaf;
  });
}

/** Returns the size and root of each note of an origin. */
function notesOf(checkpoints: string, origin: string, key: Buffer): { size: number; root: string }[] {
  const x = key.toString("base64url");
  const signer = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const id = sha256(`${origin}\n\u0001`, key).subarray(0, 4);
  const blocks = checkpoints.split("\n\n").filter((block) => block !== "");
  return Array.from({ length: blocks.length / 2 }, (_, at) => {
    const text = `${blocks[2 * at]}\n`;
    const [name, size, root = ""] = text.split("\n");
    const signature = Buffer.from(blocks[2 * at + 1]?.replace(`\u2014 ${origin} `, "") ?? "", "base64");
    demand(name === origin && signature.subarray(0, 4).equals(id), "the note of another");
    demand(verify(null, Buffer.from(text), signer, signature.subarray(4)), "not signed by the key");
    return { size: Number(size), root };
  });
}

/** Returns how many records chain `main` has and how many of them are proven. Throws if something is wrong. */
function verified({ log, checkpoints, signingPub }: Evidence): { records: number; proven: number } {
  demand(log.endsWith("\n"), "the last line is cut");
  const key = keyIn(signingPub);
  const lines = log.slice(0, -1).split("\n").map(readLine);
  const leaves = leavesOf(lines, key);
  const origin = `mcpgw/${sha256(key).toString("hex").slice(0, 16)}/${lines[0]?.chain}`;
  const notes = notesOf(checkpoints, origin, key);
  for (const { size, root } of notes) {
    demand(size <= leaves.length, "the end is missing");
    demand(rootOf(leaves.slice(0, size)).toString("base64") === root, "another root");
  }
  return { records: leaves.length, proven: Math.max(...notes.map(({ size }) => size)) };
}

function outside(place: Place): Omit<Evidence, "log"> {
  const dir = join(place.heads, readdirSync(place.heads)[0] ?? "");
  const read = (name: string): string => readFileSync(join(dir, name), "utf8");
  return { checkpoints: read("main.checkpoints"), signingPub: read("signing.pub") };
}

const broken = (evidence: Evidence): boolean => {
  try {
    verified(evidence);
    return false;
  } catch {
    return true;
  }
};

const config = {
  servers: [fake("fake")],
  policies: [everything()],
  audit: { checkpointEvery: { interval: "1s", records: 1 } },
};

test("R25 A01 A08 A14: an export can be verified from its documented format alone, and every changed byte is found", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const key = await place.key("alice");
  for (const text of ["one", 'two \u00e9 \ud83d\ude00 "\\ \u001b', "three"])
    await daemon.call("fake__echo", { text }, key);
  await daemon.call("fake__none", {}, key);
  const recorded = (await place.records()).length;
  await until(async () => {
    const before = outside(place);
    const { stdout: log } = await place.cli(["audit", "export"]);
    return verified({ ...before, log }).proven >= recorded;
  }, "a checkpoint over all of it");
  const evidence = outside(place);
  const { stdout: log } = await place.cli(["audit", "export", "--payloads"]);
  const whole = { ...evidence, log };
  expect(verified(whole).records).toBe(log.trim().split("\n").length);
  expect(log).toContain('"payloads":[{"body":"{\\"text\\":\\"one\\"}"');
  const bytes = Buffer.from(log);
  for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 400)) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect([at, broken({ ...whole, log: changed.toString() })]).toEqual([at, true]);
  }
  const rows = log.split("\n");
  for (const lines of [rows.toSpliced(3, 1), rows.toSpliced(0, 1), [...rows.slice(0, 4), ""]])
    expect(broken({ ...whole, log: lines.join("\n") })).toBe(true);
  await using other = await start(config);
  const { checkpoints, signingPub } = outside(other.place);
  for (const strange of [{ checkpoints }, { signingPub }, { checkpoints, signingPub }])
    expect(broken({ ...whole, ...strange })).toBe(true);
  expect(broken({ ...whole, checkpoints: whole.checkpoints.replace(/^\d+$/m, (size) => `${Number(size) + 1}`) })).toBe(
    true,
  );
});
