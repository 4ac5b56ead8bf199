import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { ChainVerdict, Verdict } from "../../control/schemas.ts";
import { command } from "../command.ts";
import { UsageError } from "../errors.ts";
import type { Output } from "../output.ts";
import { line, moment, number } from "../../control/format.ts";

type Note = { readonly source: string; readonly text: string };

/** A checkpoint is a few hundred bytes and a file of them grows slowly; the newest are at the end. */
const maxNotes = 1 << 20;

const tailOf = (text: string): string => text.slice(-maxNotes);

/** Signed checkpoints from a file, a directory of files or a URL, read with the rights of who asks. */
async function readCheckpoints(from: string): Promise<Note[]> {
  if (/^https?:\/\//.test(from)) {
    const response = await fetch(from, { signal: AbortSignal.timeout(10_000) });
    if (!response.ok) throw new Error(`--checkpoint: ${from} answers ${response.status}`);
    return [{ source: from, text: tailOf(await response.text()) }];
  }
  if (!existsSync(from)) throw new UsageError(`--checkpoint: there is no ${from}`);
  const place = path.resolve(from);
  const files = statSync(place).isDirectory() ? readdirSync(place).map((name) => path.join(place, name)) : [place];
  return files
    .filter((file) => statSync(file).isFile())
    .slice(0, 100)
    .map((file) => ({ source: file, text: tailOf(readFileSync(file, "utf8")) }));
}

const headline: Record<Verdict["exit"], (out: Output) => string> = {
  0: (out) => out.paint("green", "VERIFIED: no record up to the checkpoint was changed, removed or inserted."),
  1: (out) => out.paint("red", "TAMPERED: the log is not what was recorded."),
  2: (out) => out.paint("red", "UNREADABLE: the log could not be checked to its end."),
  3: (out) =>
    out.paint(
      "yellow",
      "INTACT BUT NOT PROVEN: without a checkpoint kept elsewhere, records may be missing at the end.",
    ),
};

function proof({ checkpoint }: ChainVerdict): string[] {
  if (!checkpoint) return ["no checkpoint; name one with --checkpoint"];
  const signed = checkpoint.at === null ? "" : `, signed ${moment(checkpoint.at)}`;
  const lines = [
    `checkpoint over ${number(checkpoint.size)} records${signed}, from ${checkpoint.source}`,
    `newer records, chained but not yet covered by it: ${number(checkpoint.after)}`,
  ];
  return checkpoint.sameHost
    ? [...lines, "it lies on this host: whoever could change the log could change it too"]
    : lines;
}

async function show(verdict: Verdict, out: Output): Promise<void> {
  await out.print(headline[verdict.exit](out));
  for (const chain of verdict.chains) {
    await out.print(line(`chain ${chain.chain}: ${number(chain.records)} records`));
    if (chain.bad) {
      const where = chain.bad.seq === null ? "" : `record ${chain.bad.seq}: `;
      await out.print(out.paint("red", line(`  ${where}${chain.bad.kind}: ${chain.bad.detail}`)));
    }
    for (const text of proof(chain)) await out.print(line(`  ${text}`));
  }
}

export const verify = command({
  name: "verify",
  summary: "Check the audit log; exits 0 proven, 1 tampered, 2 unreadable, 3 intact but unproven",
  args: {
    checkpoint: { type: "string", valueHint: "FILE|DIR|URL", description: "checkpoints that were kept elsewhere" },
    pubkey: { type: "string", valueHint: "KEY", description: "the key that must have signed them, or a file with it" },
    jsonl: { type: "string", valueHint: "FILE", description: "check an exported file instead; needs no gateway" },
  },
  async run({ checkpoint, pubkey, jsonl }, { deps, out, open }) {
    const checkpoints = checkpoint === undefined ? [] : await readCheckpoints(checkpoint);
    const key = pubkey !== undefined && existsSync(pubkey) ? readFileSync(pubkey, "utf8").trim() : pubkey;
    let verdict: Verdict;
    if (jsonl !== undefined) verdict = await deps.verifyFile(jsonl, { checkpoints, pubkey: key });
    else {
      const client = await open({ offline: true });
      verdict = await client.call("audit.verify", { checkpoints, pubkey: key });
    }
    if (out.json) await out.document(verdict);
    else await show(verdict, out);
    return verdict.exit;
  },
});
