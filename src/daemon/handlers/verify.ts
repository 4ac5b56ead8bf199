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
import { oneAtATime } from "./one-at-a-time.ts";

/** Where an installation keeps what its chains are verified against. */
export type Evidence = {
  readonly archive: Archive;
  /** The key that signs its checkpoints. */
  readonly publicKey: Uint8Array;
  /** `<state home>/mcpgw-heads`. */
  readonly heads: string;
  /** Files that checkpoints are appended to by configuration. */
  readonly checkpoints: readonly string[];
};

/** What a running gateway verifies its chains against. */
export function evidenceOf({ stores, loaded }: Engine, archive: Archive): Evidence {
  const checkpoints = loaded().config.audit.checkpoints.map(({ file }) => file);
  return { archive, publicKey: stores.publicKey, heads: stores.paths.heads, checkpoints };
}

/** Beside calls: each verification reads all checkpoints in this thread and keeps them in memory. */
export const verifyInTurn = oneAtATime();

/**
 * Checks every chain against its hashes, its head note and all checkpoints that are known or given; a chain of which
 * only one of those is left counts as cut off. Throws a `Refusal` where nothing can be checked. Once the signal
 * fires, it ends early: whoever still listens must not be told that the log cannot be read.
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
  // A chain that began meanwhile had its file before anything outside.
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

/** What is left of a chain whose file is not there. */
function gone(options: VerifyOptions): ChainReport {
  const report = new Verifier(options).report();
  if (report.bad?.kind !== "truncated") return report;
  return { ...report, bad: { ...report.bad, detail: `${report.bad.detail}; its file is not where it belongs` } };
}

/** The worst of several exits; unproven when there are none. */
export const worst = (exits: readonly VerifyExit[]): VerifyExit =>
  Object.values(verifyExit).findLast((exit) => exits.includes(exit)) ?? verifyExit.unproven;
