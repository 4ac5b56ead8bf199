import { setImmediate } from "node:timers/promises";
import { constants } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import { whyNoDirectory } from "../core/access.ts";
import { orNull } from "../core/attempt.ts";
import { replaceFile } from "../core/files.ts";
import { type Anchor, type AuditRow, type AuditStore, renewLog, StoreFailed } from "../core/store.ts";
import { timeOf } from "../core/time-text.ts";
import type { Logger } from "../core/log.ts";
import { answered, FileUnanswered } from "./answered.ts";
import { AuditBroker, type BrokerOptions } from "./broker.ts";
import { genesis, type Hash, hashText, leafOf, sameHash } from "./chain.ts";
import { type FoundCheckpoint, originOf, originsIn, parseCheckpoints } from "./checkpoint.ts";
import { lostDraft } from "./draft.ts";
import { clockTolerance } from "./clock-watch.ts";
import { createFrontier, type Frontier } from "./merkle.ts";
import {
  checkpointFile,
  type Head,
  headFile,
  installDir,
  publicKeyFile,
  readHead,
  tailOf,
  fileText,
} from "./outside.ts";
import { prevOf, readRecord } from "./record.ts";
import { installOf, publicKeyText, type SigningKey } from "./signing-key.ts";

export type OpenAuditOptions = Omit<BrokerOptions, "dir" | "start" | "frontier" | "lost"> & {
  /** `<state home>/mcpgw-heads`. */
  readonly headsDir: string;
};

/**
 * Continues a chain as its only writer: checks that it is as its last writer left it and records the calls left open.
 * Throws `StoreFailed` if it is not the chain noted outside the state directory.
 */
export async function openAudit(options: OpenAuditOptions): Promise<AuditBroker> {
  const { store, clock, keyPair, log, headsDir } = options;
  const { chain } = options.stamp;
  const install = installOf(keyPair.publicKey);
  const dir = installDir(headsDir, keyPair.publicKey);
  await makeInstallDir(headsDir, dir);
  const origin = originOf(install, chain);
  // Records that the last process committed may not be on the disk yet.
  await store.sync();
  const last = store.last();
  checkFirst(store, chain, keyPair);
  const files = [checkpointFile(dir, chain), ...options.config.checkpoints.map(({ file }) => file)];
  const tails = await readTails(files, log);
  const published = newestIn(tails, origin, keyPair);
  const note = await readHead(dir, chain);
  const head = note && headConflict(note, headFile(dir, chain), store, last);
  const ahead = checkpointConflicts(published, head?.replaced ? -1 : (last?.seq ?? 0));
  refuseOther(chain, last, head ? [head.says, ...ahead] : ahead);
  if (last && !note) log.warn(headNoteMissing, { chain, directory: dir });
  if (last) warnOfClock(last, options);
  warnOfForeign(options, install, tails);
  const anchor = store.anchor();
  const saved = anchor && trusted(anchor, origin, keyPair, last);
  const covered = saved?.size() ?? 0;
  const frontier = await extended(saved ?? createFrontier(), store);
  await publishKey(dir, install, keyPair);

  const broker = new AuditBroker({
    ...options,
    dir,
    frontier,
    start: {
      ...(last ?? { seq: 0, leaf: genesis(chain, keyPair.publicKey) }),
      uncovered: uncovered(last, covered),
      published,
    },
    lost: store.unfinished().map((begin) => ({
      seq: begin.seq,
      draft: lostDraft(begin, { at: clock.now(), mono: clock.mono() }),
    })),
  });
  log.info("audit chain open", { chain, records: broker.health().records, install });
  return broker;
}

/** Warns if the last record is later than the current time: nobody notices a clock change while no gateway runs. */
function warnOfClock({ rec }: AuditRow, { clock, log, stamp: { chain } }: OpenAuditOptions): void {
  const last = orNull(() => readRecord(rec).t);
  if (typeof last === "string" && timeOf(last) > clock.now() + clockTolerance)
    log.warn("the last record is later than the current time: the clock was set back since, or was wrong then", {
      chain,
      last,
    });
}

/** Creates the directory of this installation below the common one; throws `StoreFailed` with a remedy. */
async function makeInstallDir(home: string, dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await access(dir, constants.W_OK | constants.X_OK);
  } catch (error) {
    // XDG_STATE_HOME has no effect for root or under systemd, so the advice differs.
    const own = process.getuid?.() === 0 ? null : "set XDG_STATE_HOME to a directory of its own";
    const instead = process.env["STATE_DIRECTORY"] ? "add mcpgw-heads to StateDirectory= of the unit" : own;
    const place = `${home}, which holds what is kept outside the state directory`;
    throw new StoreFailed(whyNoDirectory(error, place, instead), { cause: error });
  }
}

/** Returns the number of uncovered records, except the newest checkpoint's own record, which follows it. */
function uncovered(last: AuditRow | null, covered: number): number {
  if (!last) return 0;
  const since = last.seq - covered;
  return since === 1 && last.rec.includes('"type":"checkpoint"') ? 0 : since;
}

function checkFirst(store: AuditStore, chain: string, { publicKey }: SigningKey): void {
  const [first] = store.page(1, 1);
  if (!first || prevOf(first.rec) === hashText(genesis(chain, publicKey))) return;
  throw new StoreFailed(
    `audit chain ${chain} was started with another signing key; restore signing.key, or move the state directory away together with the file that audit.path names`,
  );
}

type HeadConflict = {
  /** How the note contradicts the log, in words. */
  readonly says: string;
  /** Whether the note belongs to another log; then the checkpoints made with it do too. */
  readonly replaced: boolean;
};

const headNoteMissing =
  "the head note of this log is missing, so records missing from its end can be detected only as far as checkpoints outside the state directory cover them; if the log was moved here, move the directory of its head note too";

/** Returns how the head note in `file` contradicts the log, or null if it does not. */
function headConflict(head: Head, file: string, store: AuditStore, last: AuditRow | null): HeadConflict | null {
  if (head.seq > (last?.seq ?? 0)) return { says: `${file} notes record ${head.seq}`, replaced: false };
  const [row] = store.page(head.seq, 1);
  if (row?.seq === head.seq && hashText(row.leaf) === head.leaf) return null;
  return { says: `${file} notes a different record ${head.seq}`, replaced: true };
}

/** Length of the part at the end of a file that is searched for its newest checkpoint. */
const tailBytes = 64 << 10;

/** Reads the end of each file; one that does not answer is logged and not compared with the log. */
async function readTails(files: readonly string[], log: Logger): Promise<ReadonlyMap<string, string>> {
  const read = async (file: string): Promise<[string, string][]> => {
    try {
      return [[file, await answered(file, () => tailOf(file, tailBytes))]];
    } catch (error) {
      if (!(error instanceof FileUnanswered)) throw error;
      log.warn("the log was not compared with the checkpoints in this file", { file, cause: error.message });
      return [];
    }
  };
  return new Map((await Promise.all(files.map(read))).flat());
}

function newestIn(tails: ReadonlyMap<string, string>, origin: string, key: SigningKey): Map<string, FoundCheckpoint> {
  const found = new Map<string, FoundCheckpoint>();
  for (const [file, tail] of tails) {
    const own = parseCheckpoints(tail, key.publicKey, (name) => name === origin).filter(({ signed }) => signed);
    const [newest] = [...own].sort((one, other) => other.size - one.size);
    if (newest) found.set(file, newest);
  }
  return found;
}

/** Describes the files whose newest checkpoint covers more than `known` records. */
function checkpointConflicts(published: ReadonlyMap<string, FoundCheckpoint>, known: number): string[] {
  const ahead = [...published].filter(([, { size }]) => size > known);
  return ahead.map(([file, { size }]) => `${file} has a checkpoint of ${size} records`);
}

/** Warns of files with only foreign checkpoints: nothing else may reveal that this log replaced another. */
function warnOfForeign({ config, log }: OpenAuditOptions, install: string, tails: ReadonlyMap<string, string>): void {
  for (const { file } of config.checkpoints) {
    const origins = [...originsIn(tails.get(file) ?? "")];
    const isOwn = (origin: string): boolean => origin.startsWith(originOf(install, ""));
    if (origins.length === 0 || origins.some(isOwn)) continue;
    log.warn(
      "this file holds only checkpoints of another installation; unless you know that installation, the log was replaced",
      {
        file,
        of: origins.at(-1),
        install,
      },
    );
  }
}

/** Names everything that contradicts the log: to continue, an operator has to move all of these files away. */
function refuseOther(chain: string, last: AuditRow | null, against: readonly string[]): void {
  if (against.length === 0) return;
  throw new StoreFailed(
    `audit chain ${chain} was moved back or replaced: it ends at record ${last?.seq ?? 0}, but ${against.join(", and ")}. ` +
      "Records are missing or were replaced, for example by restoring an old copy. Restore the newest copy; " +
      "or, to continue with this one, move all files named here away together and keep them as evidence.",
  );
}

const pageRows = 5000;

/** Extends the Merkle frontier by all further records of the chain, checking each. */
async function extended(frontier: Frontier, store: AuditStore): Promise<Frontier> {
  let prev: Hash | null = null;
  for (;;) {
    const from = frontier.size() + 1;
    const rows = store.page(from, pageRows);
    for (const [index, row] of rows.entries()) {
      const linked = prev === null || prevOf(row.rec) === hashText(prev);
      if (row.seq !== from + index || !linked || !sameHash(leafOf(row.rec), row.leaf)) {
        throw new StoreFailed(
          `audit record ${from + index} was changed; \`mcpgw audit verify\` shows details; ${renewLog}`,
        );
      }
      frontier.append(row.leaf);
      prev = row.leaf;
    }
    if (rows.length < pageRows) return frontier;
    await setImmediate();
  }
}

/** Returns the frontier of a saved anchor, or null if no signed checkpoint of this chain proves it. */
function trusted(anchor: Anchor, origin: string, key: SigningKey, last: AuditRow | null): Frontier | null {
  const [signed] = parseCheckpoints(anchor.note, key.publicKey);
  if (!signed?.signed || signed.origin !== origin || signed.size !== anchor.size) return null;
  if (anchor.size > (last?.seq ?? 0)) return null;
  const frontier = createFrontier(anchor.size, anchor.frontier);
  return sameHash(frontier.root(), signed.root) ? frontier : null;
}

/** Writes the public key outside the state directory, out of reach for an attacker who can only change that. */
async function publishKey(dir: string, install: string, { publicKey }: SigningKey): Promise<void> {
  const path = publicKeyFile(dir);
  const text = `${publicKeyText(`mcpgw/${install}`, publicKey)}\n`;
  const found = await fileText(path);
  if (found === text) return;
  if (found !== null) throw new StoreFailed(`${path} names a different signing key than this state directory has`);
  await replaceFile(path, text);
}
