import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exportLine } from "../../src/audit/export.ts";
import { loadSigningKey } from "../../src/audit/signing-key.ts";
import { Cancel } from "../../src/core/cancel.ts";
import { messageOf } from "../../src/core/error-text.ts";
import { verifyChains, queueVerification } from "../../src/daemon/handlers/verify.ts";
import { verifyFile } from "../../src/daemon/verify-file.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { outsideOf, tempState, recordCall } from "../support/audit.ts";
import { Place } from "../support/daemon.ts";
import { reasonOf } from "../support/failure.ts";
import { free, stall } from "../support/unanswering.ts";
import { archiveAt } from "../support/archive.ts";

// All chains of an installation, including those of which only outside evidence is left.

// Some of the commands are processes, which are slow on a busy machine.
setDefaultTimeout(30_000);

/** Returns an installation with two closed chains that both append checkpoints to a configured file. */
async function twoChains() {
  const at = tempState();
  const { publicKey } = await loadSigningKey(join(at.state, "signing.key"));
  const file = join(at.root, "elsewhere.cp");
  for (const chain of ["main", "serve-1"]) {
    await recordCall(at, { checkpoints: [{ file }] }, { chain });
  }
  const outside = outsideOf(at);
  return {
    file,
    outside,
    /** What an auditor keeps: the checkpoints of both chains, and the public key. */
    kept: {
      checkpoints: [{ source: "kept", text: readFileSync(file, "utf8") }],
      pubkey: readFileSync(join(outside, "signing.pub"), "utf8"),
    },
    lose(dir: string, ...names: RegExp[]) {
      for (const name of readdirSync(dir)) if (names.some((form) => form.test(name))) rmSync(join(dir, name));
    },
    audit: join(at.state, "audit"),
    /** Writes an export that alternates the lines of both chains, passed through `change`. */
    exported(change = (line: string): string => line): string {
      using reader = openReader({ state: at.state, main: null });
      const lines = ["main", "serve-1"].map((chain) =>
        reader.page(chain, 1, 100).map((row) => exportLine(chain, row, null)),
      );
      const path = join(at.root, "export.jsonl");
      const [one = [], other = []] = lines;
      writeFileSync(
        path,
        one
          .flatMap((line, index) => [line, other[index] ?? ""])
          .map((line) => `${change(line)}\n`)
          .join(""),
      );
      return path;
    },
    async verify(checkpoints: string[], texts: { source: string; text: string }[] = [], key?: string) {
      using archive = archiveAt(at);
      const against = { checkpoints: texts, pubkey: key };
      const evidence = { archive, publicKey, heads: at.heads, checkpoints };
      const { exit, chains, pubkey } = await verifyChains(evidence, against, new Cancel());
      const bad = chains.map(({ chain, bad: found }) => [chain, found?.kind ?? null]);
      const details = chains.map(({ bad: found }) => found?.detail ?? null);
      return { exit, bad, details, notes: chains.map(({ notes }) => notes), pubkey };
    },
    [Symbol.dispose]: at[Symbol.dispose],
  };
}

/** The result for two unchanged chains. */
const intact = {
  exit: 0,
  bad: [
    ["main", null],
    ["serve-1", null],
  ],
};

test("R9 A08 a chain whose file and head note are gone is detected by its checkpoints, wherever they are kept", async () => {
  using at = await twoChains();
  expect(await at.verify([at.file])).toMatchObject(intact);
  const gone = {
    exit: 1,
    bad: [
      ["main", null],
      ["serve-1", "truncated"],
    ],
  };
  at.lose(at.audit, /^serve-1/);
  at.lose(at.outside, /^serve-1\.head$/);
  expect(await at.verify([])).toMatchObject(gone);
  at.lose(at.outside, /^serve-1/);
  const misplaced: unknown = expect.stringContaining("; its file is missing");
  expect(await at.verify([at.file])).toMatchObject({ ...gone, details: [null, misplaced] });
  at.lose(at.audit, /./);
  at.lose(at.outside, /\.head$/);
  expect(await at.verify([])).toMatchObject({ exit: 1, bad: [["main", "truncated"]] });
  at.lose(at.outside, /\.checkpoints$/);
  expect(String(await reasonOf(at.verify([])))).toContain("there is no audit chain");
});

test("R9 the configured checkpoint files prove a log, with and without a daemon", async () => {
  using place = new Place("");
  place.configure({ servers: [], audit: { checkpoints: [{ file: place.path("elsewhere.cp") }] } });
  await place.newKey("agent");
  rmSync(place.heads, { recursive: true });
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
  await using _daemon = await place.start();
  rmSync(place.heads, { recursive: true });
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
});

test("R9 verify names the public key file for auditors, unless another key was given or the file is gone", async () => {
  using at = await twoChains();
  const pub = join(at.outside, "signing.pub");
  expect((await at.verify([])).pubkey).toBe(pub);
  expect((await at.verify([], [], readFileSync(pub, "utf8"))).pubkey).toBeNull();
  rmSync(pub);
  expect(await at.verify([])).toMatchObject({ exit: 0, pubkey: null });
});

test("R9 a copy of checkpoints, or another file next to them, is not taken for a chain", async () => {
  using at = await twoChains();
  copyFileSync(join(at.outside, "main.checkpoints"), join(at.outside, "main-old.checkpoints"));
  writeFileSync(join(at.outside, "notes.checkpoints"), "kept here since spring\n");
  expect(await at.verify([])).toMatchObject(intact);
});

test("R9 T46 a hung file next to the evidence leaves every chain unproven, is reported once, and blocks nothing else, however often it is read", async () => {
  using at = await twoChains();
  const silent = (name: string, what: string): unknown =>
    expect.stringContaining(`${join(at.outside, name)} does not answer: ${what}`);
  const old = join(at.outside, "old.checkpoints");
  stall(old);
  const unsearched = [silent("old.checkpoints", "the chains it covers")];
  // More often than there are file threads, because a hung file may occupy only one of them.
  for (let i = 0; i < 20; i += 1) {
    expect(await at.verify([at.file])).toMatchObject({ exit: 3, notes: [unsearched, unsearched] });
  }
  free(old);
  const own = join(at.outside, "main.checkpoints");
  stall(own);
  const compared = [silent("main.checkpoints", "the log was not compared")];
  expect(await at.verify([at.file])).toMatchObject({
    exit: 3,
    notes: [compared, [silent("main.checkpoints", "the chains it covers")]],
  });
  free(own);
}, 30_000);

test("R9 A14 without the public key next to the evidence, the installation's own key decides who signed", async () => {
  using at = await twoChains();
  const text = readFileSync(at.file, "utf8");
  at.lose(at.outside, /signing\.pub/);
  expect(await at.verify([at.file])).toMatchObject({ exit: 0 });
  expect(await at.verify([], [{ source: "kept", text }])).toMatchObject({ exit: 0 });
  const foreign = text.replace(/^mcpgw\/[0-9a-f]+\//gm, "mcpgw/0000000000000000/");
  expect(await at.verify([], [{ source: "kept", text: foreign }])).toMatchObject({ exit: 1 });
});

test("R9 A15 each chain in an export of several is proven by its own checkpoints", async () => {
  using at = await twoChains();
  const verdict = async (path: string) => {
    const { exit, chains } = await verifyFile(path, at.kept);
    return [exit, ...chains.map((of) => [of.chain, of.exit, of.checkpoint?.size, of.bad?.kind])];
  };
  const proven = (chain: string) => [chain, 0, 2, undefined];
  expect(await verdict(at.exported())).toEqual([0, proven("main"), proven("serve-1")]);
  const edited = at.exported((line) => (line.includes('"chain":"serve-1"') ? line.replace("agent", "other") : line));
  expect(await verdict(edited)).toEqual([1, proven("main"), ["serve-1", 1, undefined, "changed"]]);
});

test("R9 A08 a chain with signed records but none in the export is unproven", async () => {
  using at = await twoChains();
  const one = at.exported((line) => (line.includes('"chain":"serve-1"') ? "" : line));
  const left = { records: 0, first: 3, bad: null, notes: [expect.stringContaining("none of its 2 signed records")] };
  const chains = [
    { chain: "main", exit: 0 },
    { chain: "serve-1", exit: 3, ...left },
  ];
  expect(await verifyFile(one, at.kept)).toMatchObject({ exit: 3, chains });
  const checkpoints = [{ source: "main", text: readFileSync(join(at.outside, "main.checkpoints"), "utf8") }];
  expect(await verifyFile(one, { ...at.kept, checkpoints })).toMatchObject({ exit: 0, chains: [{ chain: "main" }] });
  const [{ text } = { text: "" }] = at.kept.checkpoints;
  const forged = [{ source: "forged", text: text.replace(/(?<=serve-1\n)\d+/, "9") }];
  const bad = { kind: "forged-checkpoint" };
  expect(await verifyFile(one, { ...at.kept, checkpoints: forged })).toMatchObject({ exit: 1, chains: [{}, { bad }] });
});

test("R9 an export without a final newline is complete; a missing or empty export, and checkpoints without a key, are refused", async () => {
  using at = await twoChains();
  const file = at.exported();
  const refusal = async (...given: Parameters<typeof verifyFile>) => String(await reasonOf(verifyFile(...given)));
  expect(await refusal(file, { checkpoints: at.kept.checkpoints })).toContain("give --pubkey with --checkpoint");
  expect(await refusal(`${file}.none`, {})).toContain("there is no file");
  const whole = await verifyFile(file, at.kept);
  writeFileSync(file, readFileSync(file, "utf8").trimEnd());
  expect(await verifyFile(file, at.kept)).toEqual(whole);
  writeFileSync(file, "");
  expect(await refusal(file, {})).toContain("contains no records");
});

test("R9 an export older than a checkpoint counts as truncated, with advice on how to tell the difference", async () => {
  using at = await twoChains();
  const older = at.exported((line) => (line.includes('"chain":"main"') && !line.includes('"seq":1,') ? "" : line));
  const { exit, chains } = await verifyFile(older, at.kept);
  expect([exit, chains.map(({ bad, notes }) => [bad?.kind, notes])]).toEqual([
    1,
    [
      ["truncated", [expect.stringContaining("export again")]],
      [undefined, []],
    ],
  ]);
});

test("R9 verifications run one at a time, and one whose caller has left is not started", async () => {
  using at = tempState();
  const { publicKey } = await loadSigningKey(join(at.state, "signing.key"));
  await recordCall(at, {}, { chain: "main" });
  using archive = archiveAt(at);
  const order: string[] = [];
  const left = new AbortController();
  const ask = (name: string, signal: AbortSignal, key?: string) => {
    const evidence = { archive, publicKey, heads: at.heads, checkpoints: [] };
    const done = queueVerification("key:alice", signal, () => {
      order.push(`${name} begins`);
      return verifyChains(evidence, { checkpoints: [], pubkey: key }, signal);
    });
    return done.then(
      ({ exit }) => order.push(`${name} ends with ${exit}`),
      (error: unknown) => order.push(`${name}: ${messageOf(error)}`),
    );
  };
  const { signal } = new AbortController();
  const asked = [ask("one", signal), ask("two", signal, "no key"), ask("three", left.signal), ask("four", signal)];
  left.abort();
  await Promise.all(asked);
  expect(order).toEqual([
    "one begins",
    "one ends with 0",
    "two begins",
    expect.stringMatching(/^two: the public key is neither/),
    "three: The request was canceled before its turn came.",
    "four begins",
    "four ends with 0",
  ]);
});

test("R9 a canceled verification, as at shutdown, gives no verdict on the log", async () => {
  using at = tempState();
  const { publicKey } = await loadSigningKey(join(at.state, "signing.key"));
  await recordCall(at, {}, { chain: "main" });
  using archive = archiveAt(at);
  const left = new Cancel();
  const verify: typeof archive.verify = async (options, signal) => {
    left.abort();
    return archive.verify(options, signal);
  };
  const evidence = { archive: { ...archive, verify }, publicKey, heads: at.heads, checkpoints: [] };
  for (const step of ["while a chain is read", "while the checkpoints are"]) {
    const verified = verifyChains(evidence, { checkpoints: [], pubkey: undefined }, left);
    expect([step, await reasonOf(verified)]).toEqual([step, expect.objectContaining({ code: "cancelled" })]);
  }
});

test("R9 A03 A14 a log rewritten with another key, together with all outside evidence, is not proven by that key", async () => {
  using own = await twoChains();
  using other = await twoChains();
  for (const part of ["audit", "outside"] as const) {
    own.lose(own[part], /./);
    for (const name of readdirSync(other[part])) copyFileSync(join(other[part], name), join(own[part], name));
  }
  const rewritten = {
    exit: 1,
    bad: [
      ["main", "unlinked"],
      ["serve-1", "unlinked"],
    ],
  };
  expect(await own.verify([])).toMatchObject(rewritten);
  rmSync(join(own.outside, "signing.pub"));
  expect(await own.verify([])).toMatchObject(rewritten);
});

test("R9 A14 another installation's public key in place of this one's contradicts an intact log", async () => {
  using own = await twoChains();
  using other = await twoChains();
  const key = join(own.outside, "signing.pub");
  copyFileSync(join(other.outside, "signing.pub"), key);
  const says: unknown = expect.stringContaining(`${key} names a different signing key`);
  expect(await own.verify([])).toMatchObject({ exit: 1, details: [says, says], pubkey: null });
});
