import { gatherEvidence } from "../../audit/evidence.ts";
import { installDir } from "../../audit/outside.ts";
import type { Output, Parsed } from "../../control/api.ts";
import { Refusal } from "../../control/refusal.ts";
import type { Archive } from "../archive.ts";

/** Where an installation keeps what its chains are verified against. */
export type Evidence = {
  readonly archive: Archive;
  readonly install: string;
  /** `<state home>/mcpgw-heads`. */
  readonly heads: string;
  /** Files that checkpoints are appended to by configuration. */
  readonly checkpoints: readonly string[];
};

type Exit = Output<"audit.verify">["exit"];

// What is worse wins: tampered, unreadable, unproven, proven.
const severity: readonly Exit[] = [0, 3, 2, 1];

/** Checks every chain against its hashes, its head note and all checkpoints that are known or given. */
export async function verifyChains(evidence: Evidence, input: Parsed<"audit.verify">): Promise<Output<"audit.verify">> {
  const { archive, install, heads, checkpoints } = evidence;
  const dir = installDir(heads, install);
  const names = archive.chains();
  if (names.length === 0) throw new Refusal("not-found", "there is no audit chain to verify");
  const chains = [];
  for (const chain of names) {
    const given = { chain, dir, sources: checkpoints, texts: input.checkpoints, publicKey: input.pubkey };
    const options = await gatherEvidence(given).catch((error: unknown) => {
      throw new Refusal("invalid", error instanceof Error ? error.message : String(error));
    });
    chains.push(await archive.verify(options));
  }
  return { exit: worst(chains.map(({ exit }) => exit)), chains };
}

/** The exit of a whole: that of its worst part, unproven when there is none. */
export function worst(exits: readonly Exit[]): Exit {
  if (exits.length === 0) return 3;
  return exits.reduce((a, b) => (severity.indexOf(a) > severity.indexOf(b) ? a : b));
}
