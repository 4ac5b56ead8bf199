import { messageOf } from "../../core/error-text.ts";
import { gatherEvidence } from "../../audit/evidence.ts";
import { installDir } from "../../audit/outside.ts";
import { type ChainReport, Verifier, type VerifyOptions } from "../../audit/verify.ts";
import type { Answer, Parsed } from "../../control/api.ts";
import { Refusal } from "../../control/refusal.ts";
import { type AbortSignalLike, throwIfGivenUp } from "../../core/cancel.ts";
import { verifyExit, type VerifyExit } from "../../core/verify-exit.ts";
import type { Archive } from "../archive.ts";
import type { Engine } from "../engine.ts";
import { createTurnQueue } from "./one-at-a-time.ts";

/** The sources that an installation's chains are verified against. */
export type Evidence = {
  readonly archive: Archive;
  /** The key that signs its checkpoints. */
  readonly publicKey: Uint8Array;
  /** `<state home>/mcpgw-heads`. */
  readonly heads: string;
  readonly checkpoints: readonly string[];
};

/** Returns the evidence that a running gateway verifies its chains against. */
export function evidenceOf({ stores, loaded }: Engine, archive: Archive): Evidence {
  const checkpoints = loaded().config.audit.checkpoints.map(({ file }) => file);
  return { archive, publicKey: stores.publicKey, heads: stores.paths.heads, checkpoints };
}

/** Queue for verifications. Each reads all checkpoints in the thread that serves calls and keeps them in memory. */
export const queueVerification = createTurnQueue();

/**
 * Verifies every chain against its hashes, its head note and all known or given checkpoints. A chain of which only a
 * note or checkpoint is left counts as truncated. Throws a `Refusal` if nothing can be verified. When the signal fires,
 * stops early without reporting the log as unreadable.
 */
export async function verifyChains(
  evidence: Evidence,
  input: Parsed<"audit.verify">,
  signal: AbortSignalLike,
): Promise<Answer<"audit.verify">> {
  const { archive, publicKey: ownKey, heads, checkpoints: sources } = evidence;
  const dir = installDir(heads, ownKey);
  const begun = archive.chains();
  const from = { dir, sources, texts: input.checkpoints, publicKey: input.pubkey, ownKey, signal };
  const outside = await gatherEvidence(from).catch((error: unknown) => {
    throwIfGivenUp(signal);
    return refuse(error);
  });
  // A chain that started in the meantime created its file before any outside evidence.
  const there = new Set([...begun, ...archive.chains()]);
  const chains: ChainReport[] = [];
  for (const chain of [...new Set([...begun, ...outside.chains])].sort()) {
    const options = await outside.optionsFor(chain).catch(refuse);
    chains.push(there.has(chain) ? await archive.verify(options, signal) : gone(options));
    throwIfGivenUp(signal);
  }
  if (chains.length === 0) throw new Refusal("not-found", "there is no audit chain to verify");
  return { exit: worst(chains.map(({ exit }) => exit)), chains, pubkey: outside.keyFile };
}

function refuse(error: unknown): never {
  throw new Refusal("invalid", messageOf(error));
}

/** Returns the report for a chain whose file is missing. */
function gone(options: VerifyOptions): ChainReport {
  const report = new Verifier(options).report();
  if (report.bad?.kind !== "truncated") return report;
  return { ...report, bad: { ...report.bad, detail: `${report.bad.detail}; its file is missing` } };
}

/** Returns the worst of several exit codes; unproven if there are none. */
export const worst = (exits: readonly VerifyExit[]): VerifyExit =>
  Object.values(verifyExit).findLast((exit) => exits.includes(exit)) ?? verifyExit.unproven;
