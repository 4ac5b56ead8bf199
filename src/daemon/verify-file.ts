import { createReadStream, existsSync } from "node:fs";
import { gatherEvidence } from "../audit/evidence.ts";
import { verifyLines } from "../audit/export.ts";
import { type ChainReport, Verifier, type VerifyOptions } from "../audit/verify.ts";
import type { Answer, Input } from "../control/api.ts";
import { Refusal } from "../control/refusal.ts";
import { messageOf } from "../core/error-text.ts";
import { LineReader } from "../mcp/lines.ts";
import { worst } from "./handlers/verify.ts";

/** Verifies an exported file by itself, or against checkpoints that were kept elsewhere. */
export async function verifyFile(file: string, against: Input<"audit.verify">): Promise<Answer<"audit.verify">> {
  if (!existsSync(file)) throw new Refusal("not-found", `there is no file ${file}`);
  const { checkpoints: texts = [], pubkey: publicKey } = against;
  if (texts.length > 0 && publicKey === undefined) {
    throw new Refusal(
      "invalid",
      "an export does not show which installation wrote it; give --pubkey with --checkpoint to check the signer",
    );
  }
  const { chains: signed, optionsFor } = await gatherEvidence({ dir: null, sources: [], texts, publicKey });
  const chains = await verifyLines(linesOf(file), optionsFor).catch((error: unknown) => {
    throw new Refusal("unavailable", `--jsonl: ${file} cannot be read (${messageOf(error)})`);
  });
  if (chains.length === 0) throw new Refusal("not-found", `${file} contains no records`);
  const exported = new Set(chains.map(({ chain }) => chain));
  for (const chain of signed) if (!exported.has(chain)) chains.push(leftOut(await optionsFor(chain)));
  return { exit: worst(chains.map(({ exit }) => exit)), chains, pubkey: null };
}

/** Returns the report for a chain that has checkpoints but no records in the export. */
function leftOut(options: VerifyOptions): ChainReport {
  const { signed = [], forged = [] } = Object.groupBy(options.checkpoints, (one) => (one.signed ? "signed" : "forged"));
  const report = new Verifier({ ...options, checkpoints: forged }).report();
  const size = signed.reduce((most, one) => Math.max(most, one.size), 0);
  const why = `none of its ${size} signed records is in the export: they were left out, or the export is of another chain or a later time`;
  return { ...report, first: size + 1, notes: size > 0 ? [...report.notes, why] : report.notes };
}

/** Reads the lines of a file. Only a line feed ends a line, since JSON text may contain Unicode line breaks. */
async function* linesOf(file: string): AsyncGenerator<string> {
  const ready: string[] = [];
  const reader = new LineReader({
    max: () => Infinity,
    onLine: (line) => void ready.push(line),
    onOverflow: () => {},
  });
  for await (const chunk of createReadStream(file)) {
    reader.push(chunk);
    yield* ready.splice(0);
  }
  reader.end();
  yield* ready;
}
