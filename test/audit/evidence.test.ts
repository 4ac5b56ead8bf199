import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { appendFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type EvidenceOptions, gatherEvidence } from "../../src/audit/evidence.ts";
import { installDir } from "../../src/audit/outside.ts";
import { installOf, loadSigningKey } from "../../src/audit/signing-key.ts";
import { type ChainReport, verifyChain } from "../../src/audit/verify.ts";
import { Cancel } from "../../src/core/cancel.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silent } from "../../src/core/log.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { reasonOf } from "../support/failure.ts";
import { free, stall } from "../support/unanswering.ts";
import { outsideOf, tempState, type TempState, verifyAt, recordCall } from "../support/audit.ts";

setDefaultTimeout(30_000);

// What checkpoints of this installation and of others prove, depending on the file they are in.

type Installation = TempState & { readonly dir: string; readonly publicKey: Uint8Array; readonly notes: string };

async function install(at: TempState, file: string): Promise<Installation> {
  const { publicKey } = await loadSigningKey(join(at.state, "signing.key"));
  await recordCall(at, { checkpoints: [{ file }] });
  const dir = installDir(at.heads, publicKey);
  return { ...at, dir, publicKey, notes: readFileSync(file, "utf8") };
}

let one: Installation;
let other: Installation;
/** Directory of the test files. */
let place: TempState;

beforeAll(async () => {
  place = tempState();
  one = await install(tempState(), join(place.root, "one.cp"));
  other = await install(tempState(), join(place.root, "other.cp"));
});
afterAll(() => {
  for (const at of [one, other, place]) at[Symbol.dispose]();
});

const verify = (given: Partial<EvidenceOptions>, at = one): Promise<ChainReport> => verifyAt(at, given);

function file(name: string, text: string): string {
  const path = join(place.root, name);
  writeFileSync(path, text);
  return path;
}

test("R9 A03 A14 a configured file with checkpoints of another installation leaves a doubt (3), and the report names it", async () => {
  const mixed = file("mixed.cp", other.notes + one.notes);
  for (const [source, holds] of [
    [join(place.root, "other.cp"), "only"],
    [mixed, "too"],
  ] as const) {
    const { exit, bad, notes } = await verify({ sources: [source] });
    expect([exit, bad, notes]).toEqual([3, null, [expect.stringContaining(source)]]);
    expect(notes[0]).toContain(`mcpgw/${installOf(other.publicKey)}/main`);
    expect(notes[0]).toContain(holds);
  }
  expect(await verify({ sources: [join(place.root, "one.cp")] })).toMatchObject({ exit: 0, notes: [] });
});

test("R9 A14 a given file of another installation beside one of this leaves a doubt, since this log may have replaced theirs", async () => {
  const [mine, theirs] = [
    { source: "gw-a.cp", text: one.notes },
    { source: "gw-b.cp", text: other.notes },
  ];
  const both = await verify({ texts: [theirs, mine] });
  expect(both).toMatchObject({ exit: 3, bad: null, checkpoint: { source: "gw-a.cp" } });
  expect(both.notes).toEqual([expect.stringMatching(/^gw-b\.cp holds only .* pass only the files of this gateway$/)]);
  expect(await verify({ texts: [theirs] })).toMatchObject({ exit: 1, bad: { kind: "foreign-checkpoint" } });
  const mixed = await verify({ texts: [{ source: "all.cp", text: other.notes + one.notes }] });
  expect([mixed.exit, mixed.notes]).toEqual([3, [expect.stringContaining("all.cp holds")]]);
  // If proof was given, doubts about configured files do not affect it.
  expect(await verify({ texts: [mine], sources: [join(place.root, "other.cp")] })).toMatchObject({ exit: 0 });
});

test("R9 A03 a start warns of a configured file that holds only checkpoints of another installation", async () => {
  using at = tempState();
  const warned: unknown[] = [];
  const log = { ...silent, warn: (_message: string, facts: unknown) => void warned.push(facts) };
  const taken = file("taken.cp", other.notes);
  for (const checkpoints of [[{ file: taken }], [{ file: taken }], [{ file: join(place.root, "none.cp") }]]) {
    await recordCall(at, { checkpoints }, { log });
  }
  expect(warned).toMatchObject([{ file: taken, of: `mcpgw/${installOf(other.publicKey)}/main` }]);
});

test("R9 A08 a start warns that the end of a log without a head note may be missing, even if there are checkpoints", async () => {
  using at = tempState();
  const warned: unknown[] = [];
  const log = { ...silent, warn: (message: string) => void warned.push(message) };
  const kept = { checkpoints: [{ file: join(at.root, "kept.cp") }] };
  await recordCall(at, {}, { log });
  rmSync(outsideOf(at), { recursive: true });
  await recordCall(at, kept, { log });
  rmSync(outsideOf(at), { recursive: true });
  await recordCall(at, kept, { log });
  await recordCall(at, kept, { log });
  const told = expect.stringContaining("the head note of this log is missing");
  expect(warned).toEqual([told, told]);
});

test("T09 a start warns that the clock was set if the last record is later than the current time", async () => {
  using at = tempState();
  const warned: unknown[] = [];
  const log = { ...silent, warn: (message: string, facts?: object) => void warned.push([message, facts]) };
  const setBy = (us: number) => ({ log, clock: { now: () => systemClock.now() + us, mono: systemClock.mono } });
  await recordCall(at, {}, setBy(3_600_000_000));
  await recordCall(at, {}, setBy(3_600_000_000));
  expect(warned).toEqual([]);
  await recordCall(at, {}, setBy(0));
  await recordCall(at, {}, setBy(0));
  const told = [expect.stringContaining("later than the current time"), { chain: "main", last: expect.any(String) }];
  expect(warned).toEqual([told]);
});

test("R25 of equal checkpoints, the configured one is named before the default; a configured file without any is reported", async () => {
  const configured = join(place.root, "one.cp");
  const empty = file("empty.cp", "");
  const { exit, checkpoint, notes } = await verify({ sources: [configured, empty] });
  expect([exit, checkpoint?.source]).toEqual([0, configured]);
  expect(notes).toEqual([`${empty} holds no checkpoint of this chain`]);
  const evidence = await (await gatherEvidence({ dir: one.dir, sources: [configured] })).optionsFor("main");
  const remote = (source: string) => evidence.checkpoints.filter((found) => found.source === source);
  const checkpoints = [...remote(configured).map((found) => ({ ...found, sameHost: false })), ...evidence.checkpoints];
  using reader = openReader({ state: one.state, main: null });
  const report = await verifyChain(reader, { ...evidence, checkpoints }, new Cancel());
  expect(report.checkpoint).toMatchObject({ source: configured, sameHost: false });
});

test("R9 texts prove nothing if no key is known, and a text from a file on this host is marked as such", async () => {
  const given = (source: string) => [{ source, text: one.notes }];
  const keyless = gatherEvidence({ dir: null, sources: [], texts: given("-") });
  expect(String(await reasonOf(keyless))).toContain("is not known; specify it");
  for (const [source, sameHost] of [
    [join(place.root, "one.cp"), true],
    ["standard input", false],
  ] as const) {
    const { optionsFor } = await gatherEvidence({ dir: one.dir, sources: [], texts: given(source) });
    const { checkpoints } = await optionsFor("main");
    expect(new Set(checkpoints.filter((found) => found.given).map((found) => found.sameHost))).toEqual(
      new Set([sameHost]),
    );
  }
});

test("R9 every configured file that cannot be read is named", async () => {
  const [gone, absent] = ["gone.cp", "absent.cp"].map((name) => join(place.root, name));
  const sources = [gone, join(place.root, "one.cp"), absent].filter((source) => source !== undefined);
  expect(String(await reasonOf(verify({ sources })))).toEndWith(
    `no checkpoint file at ${gone}; no checkpoint file at ${absent}`,
  );
});

test("R9 T46 a configured file that does not answer leaves a doubt (3), and all other evidence counts, however often it is read", async () => {
  const silent = join(place.root, "silent.cp");
  stall(silent);
  const configured = join(place.root, "one.cp");
  // More often than there are disk threads: a file that does not answer must hold only one of them.
  for (let i = 0; i < 20; i += 1) {
    const { exit, bad, checkpoint, notes } = await verify({ sources: [silent, configured] });
    expect([exit, bad, checkpoint?.source]).toEqual([3, null, configured]);
    expect(notes).toEqual([expect.stringContaining(`${silent} does not answer`)]);
  }
  const beyond = one.notes.replace(/^(mcpgw\/.*\n)\d+$/gm, "$1999");
  const forged = await verify({ sources: [silent, file("beyond.cp", beyond)] });
  expect(forged).toMatchObject({ exit: 1, bad: { kind: "forged-checkpoint" } });
  free(silent);
});

test("R9 a checkpoint is found between megabytes of other content", async () => {
  const long = file("long.cp", "");
  truncateSync(long, 5 << 20);
  appendFileSync(long, `\n${one.notes}`);
  truncateSync(long, 10 << 20);
  expect(await verify({ sources: [long] })).toMatchObject({ exit: 0, checkpoint: { source: long } });
});
