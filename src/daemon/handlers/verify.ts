import { chainsIn, gatherEvidence } from "../../audit/evidence.ts";
import { installDir, notedChains } from "../../audit/outside.ts";
import { type ChainReport, Verifier, type VerifyOptions } from "../../audit/verify.ts";
import type { Output, Parsed } from "../../control/api.ts";
import { Refusal } from "../../control/refusal.ts";
import type { Archive } from "../archive.ts";
import type { Engine } from "../engine.ts";

/** Where an installation keeps what its chains are verified against. */
export type Evidence = {
  readonly archive: Archive;
  readonly install: string;
  /** `<state home>/mcpgw-heads`. */
  readonly heads: string;
  /** Files that checkpoints are appended to by configuration. */
  readonly checkpoints: readonly string[];
};

/** What a running gateway verifies its chains against. */
export function evidenceOf({ stores, loaded }: Engine, archive: Archive): Evidence {
  const checkpoints = loaded().config.audit.checkpoints.map(({ file }) => file);
  return { archive, install: stores.install, heads: stores.paths.heads, checkpoints };
}

type Exit = Output<"audit.verify">["exit"];

// From best to worst: proven, unproven, unreadable, tampered.
const severity: readonly Exit[] = [0, 3, 2, 1];

/**
 * Checks every chain against its hashes, its head note and all checkpoints that are known or given. A chain that has
 * these but no file counts as cut off. Throws a `Refusal` where nothing can be checked.
 */
export async function verifyChains(evidence: Evidence, input: Parsed<"audit.verify">): Promise<Output<"audit.verify">> {
  const { archive, install, heads, checkpoints } = evidence;
  const dir = installDir(heads, install);
  const names = new Set(archive.chains());
  const known = [...(await notedChains(dir)), ...chainsIn(input.checkpoints, install)];
  const chains: ChainReport[] = [];
  for (const chain of [...new Set([...names, ...known])].sort()) {
    const given = { chain, dir, sources: checkpoints, texts: input.checkpoints, publicKey: input.pubkey };
    const options = await gatherEvidence(given).catch((error: unknown) => {
      throw new Refusal("invalid", error instanceof Error ? error.message : String(error));
    });
    chains.push(names.has(chain) ? await archive.verify(options) : gone(options));
  }
  if (chains.length === 0) throw new Refusal("not-found", "there is no audit chain to verify");
  return { exit: worst(chains.map(({ exit }) => exit)), chains };
}

/** The report on a chain whose file is missing. */
function gone(options: VerifyOptions): ChainReport {
  const report = new Verifier(options).report();
  if (report.bad?.kind !== "truncated") return report;
  return { ...report, bad: { ...report.bad, detail: `${report.bad.detail}; its file is not where it belongs` } };
}

/** The worst of several exits; unproven when there are none. */
export function worst(exits: readonly Exit[]): Exit {
  if (exits.length === 0) return 3;
  return exits.reduce((a, b) => (severity.indexOf(a) > severity.indexOf(b) ? a : b));
}
