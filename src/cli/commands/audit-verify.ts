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

/** Bytes of JSON for all texts together, since they go to the daemon in one line, which also names their files. */
const maxNotes = (3 * maxLine) / 4;

/**
 * As much of the texts as goes to a daemon. A checkpoint is a few hundred bytes, and the newest are at the end. Short
 * texts leave their room to long ones.
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

/** The end of a text of which so many bytes of JSON can be sent. */
function tailOf(text: string, room: number): string {
  // No character takes less than a byte.
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

/**
 * Reads a file, the files of a directory, or a URL, with the rights of the user, of each file no more than the last
 * `most` bytes; returns at least one text.
 */
async function readCheckpoints(from: string, most: number): Promise<Note[]> {
  if (/^https?:\/\//.test(from)) {
    const response = await fetch(from, { signal: AbortSignal.timeout(10_000) }).catch((error: unknown) => {
      throw new Error(`--checkpoint: ${from} cannot be reached (${messageOf(error)})`);
    });
    if (!response.ok) throw new Error(`--checkpoint: ${from} answers ${response.status}`);
    return [{ source: from, text: await response.text() }];
  }
  if (!existsSync(from)) throw new Error(`--checkpoint: there is no ${from}`);
  const at = path.resolve(from);
  // Named itself, a pipe gives what it has; among others, nobody may ever write to it.
  const files = statSync(at).isDirectory() ? filesIn(at) : [at];
  if (files.length === 0) throw new Error(`--checkpoint: no file is in ${from}`);
  if (files.length > maxFiles) {
    throw new Error(
      `--checkpoint: ${from} holds ${files.length} files, ${maxFiles} at most are read at once; name one of them`,
    );
  }
  return files.map((file) => ({ source: file, text: readGiven("checkpoint", file, most) }));
}

/** What a public key looks like: 32 bytes in base64, or a verifier key that ends in such. */
const keyForm = /^(?:\S+\+[0-9a-f]{8}\+)?[A-Za-z0-9+/]{43,}=*$/;

/** The key itself, or what the file of that name holds. */
function keyIn(pubkey: string | undefined): string | undefined {
  if (pubkey === undefined) return undefined;
  if (!existsSync(pubkey)) {
    if (keyForm.test(pubkey)) return pubkey;
    throw new Error(`--pubkey: there is no file ${pubkey}, nor is that a public key; give one of them`);
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

/** The end of a file, at most so many bytes; a pipe gives all that it has. */
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
    "INTACT BUT NOT PROVEN: the records fit together, but no checkpoint kept elsewhere proves that they are all there.",
  ],
};

const besideLog = "it lies on this host: whoever could change the log could change it too";

/** Where a file that somebody hands over was kept until then, nothing tells. */
const fromElsewhere =
  "it proves as much as the place that it was kept in: on the log's own host, whoever could change the log could change it too";

function proof({ checkpoint, first, records, bad }: VerifyReport["chains"][number], given: boolean): string[] {
  if (first > 1 && records > 0) return [`begins at record ${number(first)}: what came before is not in it`];
  // The fault, or what is missing, is shown beside this; another checkpoint would not help.
  if (!checkpoint && (bad || (given && first > 1))) return [];
  if (!checkpoint)
    return [given ? "no checkpoint that was given is of it" : "no checkpoint; name one with --checkpoint"];
  const signed = checkpoint.at === null ? "" : `, signed ${moment(checkpoint.at)}`;
  const lines = [
    `checkpoint over ${recordCount(checkpoint.size)}${signed}, from ${checkpoint.source}`,
    `newer records, chained but not yet covered by it: ${number(checkpoint.after)}`,
  ];
  return checkpoint.sameHost ? [...lines, given ? fromElsewhere : besideLog] : lines;
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
  summary: "Check the audit log; exits 0 proven, 1 tampered, 2 unreadable, 3 intact but unproven",
  args: {
    checkpoint: { type: "string", valueHint: "FILE|DIR|URL", description: "checkpoints that were kept elsewhere" },
    pubkey: { type: "string", valueHint: "KEY", description: "the key that must have signed them, or a file with it" },
    jsonl: { type: "string", valueHint: "FILE", description: "check an exported file instead; needs no gateway" },
  },
  async run({ checkpoint, pubkey, jsonl }, cli) {
    const { out } = cli;
    // Exit 1 says that somebody changed the log; a log that merely cannot be checked must not look like that.
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
