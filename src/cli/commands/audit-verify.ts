import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import path from "node:path";
import { whyUnreadable } from "../../core/access.ts";
import { messageOf } from "../../core/error-text.ts";
import type { VerifyReport } from "../../control/schemas.ts";
import { verifyExit, type VerifyExit } from "../../core/verify-exit.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { Failed } from "../errors.ts";
import { type Color, type Output, untilReaderLeaves } from "../output.ts";
import { line, moment, number, recordCount } from "../../control/format.ts";
import { maxLine } from "../../control/messages.ts";

type Note = { readonly source: string; readonly text: string };

const maxFiles = 100;

/** Maximum size of all texts together, in bytes of JSON: they go to the daemon in one line, with their file names. */
const maxNotes = (3 * maxLine) / 4;

/**
 * Cuts the texts to what fits in one request, keeping their ends: a checkpoint is a few hundred bytes, and the newest
 * ones are last. Long texts may use the room that short ones leave.
 */
function fitting(notes: readonly Note[]): Note[] {
  let room = maxNotes;
  return notes
    .toSorted((a, b) => a.text.length - b.text.length)
    .map(({ source, text }, at) => {
      const tail = tailOf(text, room / (notes.length - at));
      room -= sizeOf(tail);
      return { source, text: tail };
    });
}

const sizeOf = (text: string): number => Buffer.byteLength(JSON.stringify(text));

/** Returns the longest end of a text that takes at most `room` bytes of JSON. */
function tailOf(text: string, room: number): string {
  // Every character takes at least one byte.
  for (let tail = text.slice(-room); ;) {
    const size = sizeOf(tail);
    if (size <= room) return tail;
    tail = tail.slice(-Math.floor((tail.length * room) / size));
  }
}

const filesIn = (directory: string): string[] =>
  readdirSync(directory)
    .map((name) => path.join(directory, name))
    .filter((file) => statSync(file).isFile());

/** Reads a file, the files in a directory (of each the last `most` bytes), or a URL; returns at least one text. */
async function readCheckpoints(from: string, most: number): Promise<Note[]> {
  if (/^https?:\/\//.test(from)) {
    const response = await fetch(from, { signal: AbortSignal.timeout(10_000) }).catch((error: unknown) => {
      throw new Error(`--checkpoint: cannot reach ${from} (${messageOf(error)})`);
    });
    if (!response.ok) throw new Error(`--checkpoint: ${from} answered with HTTP status ${response.status}`);
    return [{ source: from, text: await response.text() }];
  }
  if (!existsSync(from)) throw new Error(`--checkpoint: ${from} does not exist`);
  const at = path.resolve(from);
  // A pipe is read only if it is named itself: reading one found in a directory might block forever.
  const files = statSync(at).isDirectory() ? filesIn(at) : [at];
  if (files.length === 0) throw new Error(`--checkpoint: ${from} contains no files`);
  if (files.length > maxFiles) {
    throw new Error(
      `--checkpoint: ${from} contains ${files.length} files, but at most ${maxFiles} can be read; name one of them`,
    );
  }
  return files.map((file) => ({ source: file, text: readGiven("checkpoint", file, most) }));
}

/** The form of a public key: 32 bytes in base64, or a verifier key (C2SP signed-note) that ends in such bytes. */
const keyForm = /^(?:\S+\+[0-9a-f]{8}\+)?[A-Za-z0-9+/]{43,}=*$/;

/** Returns the key, or the contents of the file if `pubkey` is the name of one. */
function keyIn(pubkey: string | undefined): string | undefined {
  if (pubkey === undefined) return undefined;
  if (!existsSync(pubkey)) {
    if (keyForm.test(pubkey)) return pubkey;
    throw new Error(`--pubkey: ${pubkey} is neither an existing file nor a public key; give one of them`);
  }
  return readGiven("pubkey", pubkey, maxNotes).trim();
}

function readGiven(flag: string, file: string, most: number): string {
  try {
    return readEnd(file, most);
  } catch (error) {
    const denied = whyUnreadable(error, file);
    const why = denied === null ? ` cannot be read (${messageOf(error)})` : `: ${denied}`;
    throw new Error(`--${flag}: ${file}${why}`, { cause: error });
  }
}

/** Returns the end of a file, at most `most` bytes; a pipe is read completely. */
function readEnd(file: string, most: number): string {
  const fd = openSync(file, "r");
  try {
    const { size } = fstatSync(fd);
    if (size <= most) return readFileSync(fd, "utf8");
    const bytes = Buffer.alloc(most);
    return bytes.toString("utf8", 0, readSync(fd, bytes, 0, most, size - most));
  } finally {
    closeSync(fd);
  }
}

const headline: Readonly<Record<VerifyExit, readonly [Color, string]>> = {
  [verifyExit.proven]: ["green", "VERIFIED: no record up to the checkpoint was changed, removed or inserted."],
  [verifyExit.tampered]: ["red", "TAMPERED: the log is not what was recorded."],
  [verifyExit.unreadable]: ["red", "UNREADABLE: the log could not be checked to its end."],
  [verifyExit.unproven]: [
    "yellow",
    "INTACT BUT NOT PROVEN: the records are consistent, but no checkpoint kept elsewhere proves that none is missing.",
  ],
};

const sameHostNote = "it is stored on this host: anyone who could change the log could change it too";

/** The note for a given file: the gateway cannot know where it was kept before. */
const givenCheckpointNote =
  "it proves only as much as the place where it was kept: on the log's own host, anyone who could change the log could change it too";

function proof({ checkpoint, first, records, bad }: VerifyReport["chains"][number], given: boolean): string[] {
  if (first > 1 && records > 0) return [`begins at record ${number(first)}: earlier records are not in it`];
  // The fault or the missing part is already shown, and another checkpoint would not help.
  if (!checkpoint && (bad || (given && first > 1))) return [];
  if (!checkpoint)
    return [given ? "none of the given checkpoints is for this chain" : "no checkpoint; name one with --checkpoint"];
  const signed = checkpoint.at === null ? "" : `, signed ${moment(checkpoint.at)}`;
  const lines = [
    `checkpoint over ${recordCount(checkpoint.size)}${signed}, from ${checkpoint.source}`,
    `newer records, chained but not yet covered by it: ${number(checkpoint.after)}`,
  ];
  return checkpoint.sameHost ? [...lines, given ? givenCheckpointNote : sameHostNote] : lines;
}

async function show(report: VerifyReport, given: boolean, out: Output): Promise<void> {
  await out.print(out.paint(...headline[report.exit]));
  for (const chain of report.chains) {
    const checked = chain.bad ? " checked" : "";
    await out.print(line(`chain ${chain.chain}: ${recordCount(chain.records)}${checked}`));
    if (chain.bad) {
      const where = chain.bad.seq === null ? "" : `record ${chain.bad.seq}: `;
      await out.print(out.paint("red", line(`  ${where}${chain.bad.kind}: ${chain.bad.detail}`)));
    }
    for (const text of [...proof(chain, given), ...chain.notes]) await out.print(line(`  ${text}`));
  }
  if (report.pubkey !== null) await out.print(line(`public key of the checkpoints: ${report.pubkey}`));
}

export const verify = command({
  summary: "Check the audit log; exits 0 if proven, 1 if tampered, 2 if unreadable, 3 if intact but unproven",
  args: {
    checkpoint: { type: "string", valueHint: "FILE|DIR|URL", description: "checkpoints kept elsewhere" },
    pubkey: {
      type: "string",
      valueHint: "KEY",
      description: "the public key that must have signed them, or a file that contains it",
    },
    jsonl: { type: "string", valueHint: "FILE", description: "check an exported file instead; no gateway is needed" },
  },
  async run({ checkpoint, pubkey, jsonl }, cli) {
    const { out } = cli;
    // Exit code 1 means that the log was changed; a log that merely cannot be checked must not look tampered with.
    const report = await judge({ checkpoint, pubkey, jsonl }, cli).catch((error: unknown) => {
      throw new Failed(verifyExit.unreadable, messageOf(error));
    });
    const shown = out.json ? out.document(report) : show(report, checkpoint !== undefined, out);
    await untilReaderLeaves(shown).catch((error: unknown) => {
      throw new Failed(
        report.exit === verifyExit.tampered ? verifyExit.tampered : verifyExit.unreadable,
        messageOf(error),
      );
    });
    return report.exit;
  },
});

type Asked = Readonly<Record<"checkpoint" | "pubkey" | "jsonl", string | undefined>>;

async function judge({ checkpoint, pubkey, jsonl }: Asked, { deps, open }: Cli): Promise<VerifyReport> {
  const most = jsonl === undefined ? maxNotes : Infinity;
  const checkpoints = checkpoint === undefined ? [] : await readCheckpoints(checkpoint, most);
  const key = keyIn(pubkey);
  if (jsonl !== undefined) return deps.verifyFile(jsonl, { checkpoints, pubkey: key });
  const client = await open({ offline: true });
  return client.call("audit.verify", { checkpoints: fitting(checkpoints), pubkey: key });
}
